"""What people see of a result: tables, the page, and comparisons."""
