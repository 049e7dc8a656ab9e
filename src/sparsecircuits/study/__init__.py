"""Studies: many models and tasks, one table, one page. The demo is the smallest of them."""
