"""Looking after the file: doctor, repair, salvage, backup, dead letters. Above the stores, below the command line."""
