"""Files that hold arrays, read without running what is in them."""
