"""The model card of a run and what else is made from its files to be published with it."""

from sslzoo.card.layer_curve import draw_layers
from sslzoo.card.render import SOURCE, difference, render_card, write_card

__all__ = ["SOURCE", "difference", "draw_layers", "render_card", "write_card"]
