"""Reading and writing of images, audio and video: all that knows a file format. Nothing here imports Django."""
