"""Rendered clips with all that is known of them: ``world`` of things that fall and sound, ``world-actions`` of people.

Both are made by pybullet's physics and CPU renderer from what comes with it, when they are first read, and kept in the
user's cache. What is random of a clip is a function of its split and its number. None of pybullet's random objects, no
recorded motion (of ``world``) and no picture of cliparts is in both splits; textures, lights, rooms and the ways of
cameras are drawn anew for every clip.

What is exact: depth, masks, camera and intrinsics are the renderer's. Flow and visibility follow from depth and the
poses of camera and bodies, for rigid bodies without approximation. Normals are those of the triangles that are seen,
got from the depth of a pixel and of a neighbour on the same body; where there is none, depth is taken not to change.
Colours are not: the renderer takes one point of a surface for each pixel, as a camera without a lens would.

The data sets are in ``named``. Nothing that renders imports torch: each process that does would wait for it.
"""
