"""Counts of compiled programs, on HLO texts short enough to be counted by hand."""

import re

import jax
import jax.numpy as jnp
import pytest

from jaxseg.benchmark.compile_for.analysis import analyse, convolutions, watched
from jaxseg.benchmark.compile_for.collectives import by_kind, collectives
from jaxseg.benchmark.compile_for.hlo import parse
from jaxseg.benchmark.compile_for.kernels import launches
from jaxseg.benchmark.compile_for.operations import operations
from jaxseg.benchmark.compile_for.origin import Origins
from jaxseg.benchmark.compile_for.recompute import recomputed
from jaxseg.benchmark.compile_for.traffic import bytes_moved
from jaxseg.benchmark.compile_for.walk import walk
from jaxseg.benchmark.peaks import chip


def program(entry, *others):
    """A module with an entry and other computations, each a list of lines under its name."""
    texts = ["HloModule m"]
    for name, lines in others:
        texts += [f"%{name} (p: f32[]) -> f32[] {{", *(f"  {line}" for line in lines), "}"]
    return "\n".join([*texts, "ENTRY %main (p: f32[]) -> f32[] {", *(f"  {e}" for e in entry), "}"])


def moved(text):
    module = parse(text)
    return sum(r.times * bytes_moved(module, r.computation, r.instruction) for r in walk(module))


def test_reads_and_writes():
    entry = [
        "%a = f32[4]{0} parameter(0)",
        "%b = bf16[4]{0} parameter(1)",
        "%c = f32[4]{0} convert(%b)",  # 8 + 16
        "%t = (f32[4]{0}, f32[4]{0}) tuple(%a, %c)",
        "%g = f32[4]{0} get-tuple-element(%t), index=0",
        "%d = f32[4]{0} multiply(%g, %g)",  # a repeated operand is read once: 16 + 16
        "%e = f32[100,4]{1,0} broadcast(%d), dimensions={1}",  # 1600
        "ROOT %f = f32[100,4]{0,1} copy(%e)",  # 3200
    ]
    assert moved(program(entry)) == 24 + 32 + 1600 + 3200


def test_tpu_tiles_count_in_full_and_fast_memory_does_not_count():
    entry = [
        "%a = bf16[9,130]{1,0:T(8,128)(2,1)} parameter(0)",
        "%b = bf16[9,130]{1,0:T(8,128)(2,1)S(1)} negate(%a)",
        "%s = (bf16[9,130]{1,0:T(8,128)S(1)}, bf16[9,130]{1,0:T(8,128)}, u32[]{:S(2)}) "
        "copy-start(%a)",
        "%d = bf16[9,130]{1,0:T(8,128)S(1)} copy-done(%s)",
        "ROOT %c = bf16[9,130]{1,0:T(8,128)(2,1)S(1)} add(%b, %d)",
    ]
    assert moved(program(entry)) == 2 * (2 * 16 * 256)


def test_a_fusion_counts_only_the_parts_that_it_reads():
    fused = [
        "%p0 = f32[1000,8]{1,0} parameter(0)",
        "%p1 = s32[] parameter(1)",
        "%z = s32[] constant(0)",
        "%s = f32[10,8]{1,0} dynamic-slice(%p0, %p1, %z), dynamic_slice_sizes={10,8}",
        "ROOT %n = f32[10,8]{1,0} negate(%s)",
    ]
    entry = [
        "%a = f32[1000,8]{1,0} parameter(0)",
        "%i = s32[] parameter(1)",
        "ROOT %f = f32[10,8]{1,0} fusion(%a, %i), kind=kLoop, calls=%fused",
    ]
    assert moved(program(entry, ("fused", fused))) == 320 + 4 + 320


@pytest.mark.parametrize(
    ("inner", "read"),
    [
        (["%q = f32[8,5]{1,0} parameter(0)", "ROOT %r = f32[40]{0} bitcast(%q)"], 160),
        (["%q = f32[8,5]{1,0} parameter(0)", "ROOT %r = f32[40]{0} reshape(%q)"], 160),
        (["%q = f32[8,5]{1,0} parameter(0)", "ROOT %r = f32[5]{0} slice(%q), slice={[0:1]}"], 20),
    ],
)
def test_a_fusion_inside_of_a_fusion(inner, read):
    """A TPU's compiler wraps the input of a convolution, often only to rename it."""
    fused = [
        "%p = f32[8,5]{1,0} parameter(0)",
        "%i = f32[40]{0} fusion(%p), kind=kLoop, calls=%inner",
        "ROOT %n = f32[2]{0} convolution(%i, %i)",
    ]
    entry = ["%a = f32[8,5]{1,0} parameter(0)"]
    entry += ["ROOT %f = f32[2]{0} fusion(%a), kind=kOutput, calls=%fused"]
    assert moved(program(entry, ("inner", inner), ("fused", fused))) == read + 8


def test_a_fusion_that_updates_in_place_writes_the_update():
    fused = [
        "%p0 = f32[1000,8]{1,0} parameter(0)",
        "%p1 = f32[10,8]{1,0} parameter(1)",
        "%i = s32[] constant(0)",
        "ROOT %u = f32[1000,8]{1,0} dynamic-update-slice(%p0, %p1, %i, %i)",
    ]
    entry = [
        "%a = f32[1000,8]{1,0} parameter(0)",
        "%b = f32[10,8]{1,0} parameter(1)",
        "ROOT %f = f32[1000,8]{1,0} fusion(%a, %b), kind=kLoop, calls=%fused",
    ]
    assert moved(program(entry, ("fused", fused))) == 320 + 320


def test_a_scatter_touches_as_many_cells_as_it_has_updates():
    entry = [
        "%a = f32[1000]{0} parameter(0)",
        "%i = s32[10,1]{1,0} parameter(1)",
        "%u = f32[10]{0} parameter(2)",
        "ROOT %s = f32[1000]{0} scatter(%a, %i, %u), to_apply=%add",
    ]
    assert moved(program(entry)) == 40 + 40 + 2 * 40


CUDNN = [
    "%x = bf16[2,9,9,3]{3,2,1,0} parameter(0)",
    "%k = bf16[5,3,3,3]{3,2,1,0} parameter(1)",
    "%g = bf16[2,9,9,5]{3,2,1,0} parameter(2)",
    "%y = (bf16[2,9,9,5]{3,2,1,0}, u8[1000]{0}) custom-call(%x, %k), window={size=3x3 pad=1_1x1_1},"
    ' dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convForward"',
    "%dk = (bf16[5,3,3,3]{3,2,1,0}, u8[0]{0}) custom-call(%x, %g), window={size=3x3 pad=1_1x1_1},"
    ' dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convBackwardFilter"',
    "%dx = (bf16[2,9,9,3]{3,2,1,0}, u8[0]{0}) custom-call(%g, %k), window={size=3x3 pad=1_1x1_1},"
    ' dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convBackwardInput"',
    "ROOT %t = (u8[1]{0}) tuple(%y)",
]


def test_the_workspace_of_a_library_is_not_moved():
    x, k, g = 2 * 2 * 81 * 3, 2 * 5 * 27, 2 * 2 * 81 * 5
    assert moved(program(CUDNN)) == 2 * (x + k + g) + (x + k + g)


def test_operations_of_a_convolution_and_of_its_gradients_are_the_same():
    module = parse(program(CUDNN))
    main = module.computations["main"]
    each = [operations(module, main, main.by_name[name]) for name in ("y", "dk", "dx")]
    assert each == [2 * 2 * 81 * 5 * 27] * 3


@pytest.mark.parametrize(
    "line",
    [
        "%d = f32[3,5]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}",
        "%d = (f32[3,5]{1,0}, s8[64]{0}) custom-call(%a, %b), "
        'custom_call_target="__cublas$lt$matmul", backend_config={"gemm_backend_config":'
        '{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"]}}}',
    ],
)
def test_operations_of_a_product(line):
    entry = ["%a = f32[3,7]{1,0} parameter(0)", "%b = f32[7,5]{1,0} parameter(1)", f"ROOT {line}"]
    module = parse(program(entry))
    main = module.computations["main"]
    assert operations(module, main, main.by_name["d"]) == 2 * 3 * 5 * 7


COUNTER = "%p = (s32[], s32[], f32[4]{0}) parameter(0)"
BODY = [
    COUNTER,
    "%x = f32[4]{0} get-tuple-element(%p), index=2",
    "%y = f32[4]{0} negate(%x)",  # 32 bytes
    "ROOT %t = (s32[], s32[], f32[4]{0}) tuple(%i, %n, %y)",
]
CONDITION = [
    COUNTER,
    "%i = s32[] get-tuple-element(%p), index=0",
    "%n = s32[] get-tuple-element(%p), index=1",
    "ROOT %c = pred[] compare(%i, %n), direction=LT",
]
CONSTANT = [COUNTER, "%i = s32[] get-tuple-element(%p), index=0", "%n = s32[] constant(7)"]
CONSTANT += ["ROOT %c = pred[] compare(%i, %n), direction=LT"]
FUSED = [
    "%a = s32[] parameter(0)",
    "%b = s32[] constant(7)",
    "ROOT %l = pred[] compare(%a, %b), direction=LT",
]
BY_FUSION = [COUNTER, "%i = s32[] get-tuple-element(%p), index=0"]
BY_FUSION += ["ROOT %c = pred[] fusion(%i), kind=kLoop, calls=%fused"]


@pytest.mark.parametrize(
    ("condition", "told", "turns"),
    [
        (CONDITION, ', backend_config={"known_trip_count":{"n":"12"}}', 12),
        (CONDITION, "", 9),  # the count was passed into the loop
        (CONSTANT, "", 7),
        (BY_FUSION, "", 7),
        ([COUNTER, "ROOT %c = pred[] constant(true)"], "", None),
    ],
)
def test_a_loop_counts_by_its_turns(condition, told, turns):
    entry = [
        "%zero = s32[] constant(0)",
        "%bound = s32[] constant(9)",
        "%x = f32[4]{0} parameter(0)",
        "%start = (s32[], s32[], f32[4]{0}) tuple(%zero, %bound, %x)",
        f"ROOT %w = (s32[], s32[], f32[4]{{0}}) while(%start), condition=%cond, body=%body{told}",
    ]
    text = program(entry, ("body", BODY), ("cond", condition), ("fused", FUSED))
    runs = [r for r in walk(parse(text)) if r.instruction.op == "negate"]
    assert [(r.times, r.counted) for r in runs] == [(turns or 1, turns is not None)]
    assert moved(text) == 32 * (turns or 1)


def test_a_conditional_counts_its_longest_branch():
    long = [
        "%p = f32[4]{0} parameter(0)",
        "%a = f32[4]{0} negate(%p)",
        "ROOT %b = f32[4]{0} abs(%a)",
    ]
    short = ["ROOT %p = f32[4]{0} parameter(0)"]
    entry = [
        "%x = f32[4]{0} parameter(0)",
        "%i = pred[] parameter(1)",
        "ROOT %c = f32[4]{0} conditional(%i, %x, %x), branch_computations={%short, %long}",
    ]
    assert moved(program(entry, ("long", long), ("short", short))) == 64


def test_launches():
    entry = [
        "%x = f32[4]{0} parameter(0)",
        "%f = f32[4]{0} fusion(%x), kind=kLoop, calls=%fused",
        "%b = f32[2,2]{1,0} bitcast(%f)",
        "ROOT %c = f32[2,2]{0,1} copy(%b)",
    ]
    found = launches(walk(parse(program(entry, ("fused", FUSED)))))
    assert found == {"fusion (loop)": 1, "copy": 1}


def test_a_collective_repeated_in_fusions_counts_once():
    gather = "all-gather(%p), channel_id=3, dimensions={0}"
    entry = [
        "%x = f32[4]{0} parameter(0)",
        "%r = (f32[6]{0}, bf16[2]{0}) all-reduce(%x, %x), channel_id=5, to_apply=%add",
        "%s = (f32[4]{0}, f32[8]{0}) all-gather-start(%x), channel_id=6, dimensions={0}",
        "ROOT %d = f32[8]{0} all-gather-done(%s)",
    ]
    first = ["%p = f32[4]{0} parameter(0)", f"ROOT %a = f32[8]{{0}} {gather}"]
    second = ["%p = f32[4]{0} parameter(0)", f"ROOT %b = f32[8]{{0}} {gather}"]
    scattered = ["%p = f32[4]{0} parameter(0)", "ROOT %q = f32[2]{0} all-reduce(%p), channel_id=8"]
    entry[1:1] = ["%y = f32[8]{0} fusion(%x), kind=kCustom, calls=%f"]
    entry[1:1] = ["%w = f32[8]{0} fusion(%x), kind=kCustom, calls=%g"]
    text = program(entry, ("f", first), ("g", second), ("all-reduce-scatter.1", scattered))
    found = collectives(parse(text))
    assert sorted(c.moved for c in found) == [0, 0, 0, 16 + 32]
    assert by_kind(found) == {
        "all-gather f32": {"count": 2, "bytes": 64},
        "all-reduce bf16+f32": {"count": 1, "bytes": 28},
        "reduce-scatter f32": {"count": 1, "bytes": 8},
    }


TABLES = """HloModule m

FileNames
1 "/x/main.py"
2 "{package}/models/fcn.py"
3 "/site-packages/flax/linear.py"
4 "{package}/ops/dispatch.py"

FunctionNames
1 "<module>"
2 "network"
3 "Conv.__call__"
4 "dispatch"

FileLocations
1 {{file_name_id=1 function_name_id=1 line=9 end_line=9 column=1 end_column=2}}
2 {{file_name_id=2 function_name_id=2 line=70 end_line=70 column=1 end_column=2}}
3 {{file_name_id=3 function_name_id=3 line=600 end_line=600 column=1 end_column=2}}
4 {{file_name_id=4 function_name_id=4 line=90 end_line=90 column=1 end_column=2}}

StackFrames
1 {{file_location_id=1 parent_frame_id=1}}
2 {{file_location_id=2 parent_frame_id=2}}
3 {{file_location_id=4 parent_frame_id=3}}
4 {{file_location_id=3 parent_frame_id=4}}

%fused (p: f32[4]) -> f32[4] {{
  %p = f32[4]{{0}} parameter(0)
  ROOT %n = f32[4]{{0}} negate(%p), metadata={{op_name="jit(f)/conv1_1/neg" stack_frame_id=4}}
}}
ENTRY %main (x: f32[4]) -> f32[4] {{
  %x = f32[4]{{0}} parameter(0), metadata={{op_name="x" stack_frame_id=1}}
  %y = f32[4]{{0}} fusion(%x), kind=kLoop, calls=%fused
  ROOT %z = f32[4]{{0}} copy(%y)
}}
"""


def test_the_line_of_an_instruction():
    import jaxseg.errors

    package = re.sub(r"/errors\.py$", "", jaxseg.errors.__file__)
    module = parse(TABLES.format(package=package))
    origins, main = Origins(module), module.computations["main"].by_name
    assert str(origins(main["y"])) == "jaxseg/models/fcn.py:70"  # not Flax or the dispatcher
    assert origins(main["y"]).function == "network"
    assert str(origins(main["x"])) == "/x/main.py:9"
    assert origins(main["z"]) is None


def test_recomputed_convolutions_are_counted():
    def conv(name, path):
        return (
            f'%{name} = f32[4]{{0}} convolution(%x, %x), metadata={{op_name="jit(f)/{path}/conv"}}'
        )

    again = "transpose(jvp())/checkpoint/rematted_computation"
    fused = ["%x = f32[4]{0} parameter(0)", "ROOT " + conv("i", again)]
    entry = [
        "%x = f32[4]{0} parameter(0)",
        conv("a", "jvp()"),
        conv("b", again),
        conv("c", "transpose(jvp())"),
        "ROOT %f = f32[4]{0} fusion(%x), kind=kOutput, calls=%fused",
    ]
    module = parse(program(entry, ("fused", fused)))
    assert recomputed(module, walk(module)) == {"convolutions": 2, "early": 1}


def test_slow_operations_are_counted():
    entry = [
        "%x = bf16[2,500,500,3]{3,2,1,0} parameter(0)",
        "%k = f32[3,3,3,8]{3,2,1,0} parameter(1)",
        "%r = bf16[2,500,500,3]{3,2,1,0} reverse(%x), dimensions={1,2}",
        "%q = f32[3,3,3,8]{3,2,1,0} reverse(%k), dimensions={0,1}",
        *CUDNN[3:4],
    ]
    module = parse(program(entry))
    assert watched(module) == {"reverse": {"count": 2, "largest": 1_500_000, "longest": 500}}
    found = convolutions(module, Origins(module))
    assert found["types"] == {"convolution bf16×f32": 1}
    assert found["widest_window"] == 3 and found["float32_lines"] == {"?": 1}


def test_a_tpu_s_time_is_its_compiler_s_estimate():
    told = ', backend_config={"window_config":{"estimated_cycles":"1500"}}'
    entry = [
        "%x = f32[8,128]{1,0:T(8,128)} parameter(0)",
        f"%a = f32[8,128]{{1,0:T(8,128)}} negate(%x){told}",
        "ROOT %b = f32[8,128]{1,0:T(8,128)} copy(%a)",
    ]
    counts, dearest = analyse(program(entry), chip("v5e"), "bfloat16", top=1)
    copied = 8192 / 819e9 * 1000
    assert counts["milliseconds"] == pytest.approx(0.001 + copied)
    assert counts["milliseconds_not_told"] == pytest.approx(copied)
    assert counts["bytes"] == 16384
    assert [row["name"] for row in dearest] == ["a"] and dearest[0]["told_by_compiler"]


@pytest.mark.parametrize(
    "function",
    [lambda a, b: a @ b, lambda a, b: a + b.T, lambda a, b: a[:16] * 2 + b.sum(0)],
)
def test_bytes_are_those_of_xla_where_it_knows_them(function):
    shapes = [jax.ShapeDtypeStruct((64, 64), jnp.float32)] * 2
    compiled = jax.jit(function).lower(*shapes).compile()
    assert moved(compiled.as_text()) == compiled.cost_analysis()["bytes accessed"]
