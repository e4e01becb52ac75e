"""Files that hold arrays, read without running any code in them."""
