"""The GPU's forms of the ops: the same sums in an order that XLA compiles to efficient kernels.

`jaxseg.ops.dispatch` selects them. They support derivatives of any order, forward and reverse, and
`vmap`. Several devices run the reference forms.
"""
