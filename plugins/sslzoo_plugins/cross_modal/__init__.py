"""Methods that learn from what else is known of a picture: motion, sound, where the camera goes."""
