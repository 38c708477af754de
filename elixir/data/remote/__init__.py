"""Local copies of what lies in remote storage or in an archive."""
