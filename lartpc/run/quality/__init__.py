"""Quality: what a reconstruction is compared with the truth by, event by event and pooled."""
