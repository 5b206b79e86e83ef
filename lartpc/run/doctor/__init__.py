"""`lartpc doctor`: what a machine offers, and what of it a job would use."""
