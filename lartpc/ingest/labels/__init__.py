"""Truth labels: from trajectories to particles, points and classes of voxels."""
