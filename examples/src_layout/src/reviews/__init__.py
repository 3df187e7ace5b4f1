"""What is said in reviews."""
