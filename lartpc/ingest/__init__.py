"""Files of steps to voxels with truth labels: one reader per format, one voxelizer, one labeller."""
