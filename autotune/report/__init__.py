"""What people read: console tables and the HTML report."""
