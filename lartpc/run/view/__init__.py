"""`lartpc view`: a local page of any event of a production or of event files."""
