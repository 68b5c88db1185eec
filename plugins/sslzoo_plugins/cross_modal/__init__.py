"""Methods whose pseudo-label of one kind of signal is another: sound, optical flow, the camera's motion."""
