"""Small plugins that stretch the contract beyond still images and one plain gradient. For tests only."""
