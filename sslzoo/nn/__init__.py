"""Parts that methods share. Import them from the file that is named after them."""
