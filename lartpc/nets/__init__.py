"""Networks and the blocks they are made of; pure torch, no files."""
