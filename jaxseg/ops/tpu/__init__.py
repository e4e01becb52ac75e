"""The TPU's forms of the ops: the same sums as products that its matrix unit takes.

`jaxseg.ops.dispatch` chooses them. They have derivatives of any order, forwards and backwards, and
`vmap`. Several devices run the reference forms.
"""
