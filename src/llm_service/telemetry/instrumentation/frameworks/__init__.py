"""What frameworks tell by callbacks becomes records: a call once, whoever else sees it, and agents as spans."""
