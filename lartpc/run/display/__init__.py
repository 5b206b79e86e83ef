"""The display of an event: one for the static report, the browser application and pictures."""
