"""Reports: findings in words, tables and pages."""
