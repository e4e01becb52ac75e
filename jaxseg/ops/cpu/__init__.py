"""The CPU's forms of the ops: the same sums in an order that is fast in XLA's CPU backend.

`jaxseg.ops.dispatch` selects them. They support reverse-mode derivatives of the first order, and
`vmap`.
"""
