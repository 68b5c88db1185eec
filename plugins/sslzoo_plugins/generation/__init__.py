"""Methods that generate: pictures restored, completed, coloured, enlarged or made from nothing."""
