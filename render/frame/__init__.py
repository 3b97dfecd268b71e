"""What is done with the frames of every engine before they are encoded. Without Django."""
