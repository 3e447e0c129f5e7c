"""From an accepted record to a commit: queue, committer, and whoever drives them (a task, a thread, the exit)."""
