"""What is asked of a file: each question as `(sql, parameters)` and the shaping of its rows; no connection in sight."""
