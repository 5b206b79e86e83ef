"""The detector's part of an image: response, views of wire planes, and back from these to 3D."""
