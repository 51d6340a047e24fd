"""Everything around the services: the local stack, the demo, the command line, the image, compose, the reference."""
