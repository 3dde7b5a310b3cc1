"""The gap as a page: `report.html` of a run or of a sweep, for readers who know nothing of the project."""
