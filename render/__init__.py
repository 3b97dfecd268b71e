"""How a video is made: the queue of renders, the engines, the storages. Who asks for one and why: `projects`."""
