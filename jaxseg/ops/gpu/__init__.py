"""The GPU's forms of the ops: the same sums in an order that XLA makes good kernels of.

`jaxseg.ops.dispatch` chooses them. They have derivatives of any order, forwards and backwards, and
`vmap`. Several devices run the reference forms.
"""
