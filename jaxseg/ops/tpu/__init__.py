"""The TPU's forms of the ops: the same sums as products that fit its matrix unit.

`jaxseg.ops.dispatch` selects them. They support derivatives of any order, forward and reverse, and
`vmap`. Several devices run the reference forms.
"""
