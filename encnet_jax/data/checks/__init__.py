"""What a split contains, whether a network can learn from it, class weights."""
