"""Reading compiled programs: traffic, loops, collectives and padding, on a text worked by hand and on XLA's own."""

import jax
import jax.numpy as jnp
import pytest

from tdepth_jax.planning import hlo

# As a TPU's compiler writes: tiles, fast memory S(1), a loop of five whose body all-reduces, a slice of a stack.
TEXT = """\
HloModule jit_step, is_scheduled=true, num_partitions=4

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%sliced (p0: f32[5,8,128], p1: s32[]) -> f32[8,128] {
  %p0 = f32[5,8,128]{2,1,0:T(8,128)} parameter(0)
  %p1 = s32[]{:T(128)} parameter(1)
  %zero = s32[]{:T(128)} constant(0)
  %one = f32[1,8,128]{2,1,0:T(8,128)} dynamic-slice(%p0, %p1, %zero, %zero), dynamic_slice_sizes={1,8,128}
  ROOT %flat = f32[8,128]{1,0:T(8,128)} bitcast(%one)
}

%body (state: (s32[], f32[5,8,128], f32[8,128])) -> (s32[], f32[5,8,128], f32[8,128]) {
  %state = (s32[]{:T(128)}, f32[5,8,128]{2,1,0:T(8,128)}, f32[8,128]{1,0:T(8,128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%state), index=0
  %stack = f32[5,8,128]{2,1,0:T(8,128)} get-tuple-element(%state), index=1
  %layer = f32[8,128]{1,0:T(8,128)S(1)} fusion(%stack, %i), kind=kLoop, calls=%sliced, backend_config={"window_config":{"estimated_cycles":"100"}}
  %reduced = f32[8,128]{1,0:T(8,128)} all-reduce(%layer), channel_id=1, replica_groups=[1,4]<=[4], to_apply=%add, metadata={op_name="jit(step)/grad"}
  ROOT %next = (s32[]{:T(128)}, f32[5,8,128]{2,1,0:T(8,128)}, f32[8,128]{1,0:T(8,128)}) tuple(%i, %stack, %reduced)
}

%condition (state.1: (s32[], f32[5,8,128], f32[8,128])) -> pred[] {
  %five = s32[]{:T(128)} constant(5)
  %state.1 = (s32[]{:T(128)}, f32[5,8,128]{2,1,0:T(8,128)}, f32[8,128]{1,0:T(8,128)}) parameter(0)
  %counter = s32[]{:T(128)} get-tuple-element(%state.1), index=0
  ROOT %less = pred[]{:T(512)} compare(%counter, %five), direction=LT
}

ENTRY %main (x: f32[5,8,128], y: bf16[3,100]) -> f32[8,128] {
  %x = f32[5,8,128]{2,1,0:T(8,128)} parameter(0)
  %y = bf16[3,100]{1,0:T(8,128)(2,1)} parameter(1)
  %start = s32[]{:T(128)} constant(0)
  %first = f32[8,128]{1,0:T(8,128)} custom-call(), custom_call_target="AllocateBuffer"
  %doubled = bf16[3,100]{1,0:T(8,128)(2,1)} add(%y, %y), backend_config={"window_config":{"estimated_cycles":"7"}}
  %both = (f32[8,128]{1,0:T(8,128)}, f32[]{:T(128)}) all-reduce(%first, %scalar), replica_groups={{0,1},{2,3}}, to_apply=%add
  %tuple = (s32[]{:T(128)}, f32[5,8,128]{2,1,0:T(8,128)}, f32[8,128]{1,0:T(8,128)}) tuple(%start, %x, %first)
  %loop = (s32[]{:T(128)}, f32[5,8,128]{2,1,0:T(8,128)}, f32[8,128]{1,0:T(8,128)}) while(%tuple), condition=%condition, body=%body
  ROOT %out = f32[8,128]{1,0:T(8,128)} get-tuple-element(%loop), index=2
}
"""  # noqa: E501


@pytest.fixture(scope="module")
def work() -> hlo.Work:
    return hlo.work(TEXT)


def test_a_loop_counts_as_often_as_it_runs_and_a_slice_as_what_it_takes(work):
    layer = 8 * 128 * 4
    # In the loop: a slice is read from the stack into fast memory (and its number), the sum written to the large one.
    in_loop = 5 * (layer + 4 + layer)
    doubled = 3 * 8 * 128 * 2  # two reads and a write, padded to a whole tile
    first = (
        2 * layer + 4
    )  # read and written; the scalar that it reads is not in the text, the one it writes is
    assert work.useful == in_loop + 3 * 3 * 100 * 2 + first
    assert work.bytes == in_loop + doubled + first
    assert work.cycles == 5 * 100 + 7


def test_collectives_by_kind_size_times_and_group(work):
    inside, outside = sorted(work.collectives, key=lambda c: -c.times)
    assert (inside.kind, inside.bytes, inside.elements, inside.times, inside.group) == (
        "all-reduce",
        4096,
        1024,
        5,
        4,
    )
    assert (outside.bytes, outside.times, outside.group) == (4096 + 4, 1, 2)
    assert work.of("all-reduce") == 6 * 4096 + 4
    assert work.of("all-gather") == 0


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("f32[3,100]{1,0:T(8,128)}", 8 * 128 * 4),
        ("f32[3,100]{0,1:T(8,128)}", 104 * 128 * 4),  # the first axis is the minor one
        ("bf16[16,4,8,3,256]{4,0,3,2,1:T(8,128)(2,1)S(1)}", 4 * 8 * 3 * 16 * 256 * 2),
        ("f32[32]{0:T(128)}", 128 * 4),
        ("f32[7,5]{1,0}", 7 * 5 * 4),  # as on a CPU
        ("pred[]", 1),
    ],
)
def test_what_an_array_takes_with_its_tiles(text, stored):
    (array,) = hlo.arrays(text)
    assert array.stored == stored
    assert array.fast == ("S(1)" in text)


@pytest.mark.parametrize("length", [3, 11])
def test_a_scan_that_xla_compiled_is_counted_by_its_length(length):
    def stack(kernels, x):
        return jax.lax.scan(lambda x, kernel: (jnp.tanh(x @ kernel), None), x, kernels)[0]

    shapes = jax.ShapeDtypeStruct((length, 64, 64), jnp.float32), jax.ShapeDtypeStruct((16, 64), jnp.float32)
    text = jax.jit(stack).lower(*shapes).compile().as_text()
    program, entry = hlo.read(text)
    loops = [i for i in program[entry] if i.op == "while"]
    assert [hlo.trips(program, loop) for loop in loops] == [length]
    # Each layer reads its own kernel at least once, and not the whole stack each time.
    least = length * 64 * 64 * 4
    assert least <= hlo.work(text).bytes <= 4 * least + length * 16 * 64 * 4 * 8


def test_without_loops_the_traffic_is_what_xla_says():
    def plain(a, b, c):
        return jnp.sin(a @ b) @ c, (a * 2).sum(axis=0)

    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((128, 256), (256, 64), (64, 32))]
    compiled = jax.jit(plain).lower(*shapes).compile()
    assert hlo.work(compiled.as_text()).bytes == pytest.approx(
        compiled.cost_analysis()["bytes accessed"], rel=0.1
    )


def test_a_gather_is_found_where_it_is_fused():
    def pick(x, rows):
        return x[rows] * 2 + 1

    shapes = jax.ShapeDtypeStruct((1000, 8), jnp.float32), jax.ShapeDtypeStruct((70,), jnp.int32)
    (gather,) = hlo.work(jax.jit(pick).lower(*shapes).compile().as_text()).gathers
    assert (gather.op, gather.elements, gather.times) == ("gather", 70 * 8, 1)


def test_a_collective_spread_over_other_work_is_one():
    fused = "%part.{i} (p: f32[8]) -> f32[32] {{\n  %p = f32[8]{{0}} parameter(0)\n"
    fused += "  ROOT %g.{i} = f32[32]{{0}} all-gather(%p), channel_id={c}, replica_groups=[1,4]<=[4]\n}}\n\n"
    body = "".join(f"  %f.{i} = f32[32]{{0}} fusion(%x), kind=kCustom, calls=%part.{i}\n" for i in range(4))
    text = "".join(fused.format(i=i, c=7 if i < 3 else 8) for i in range(4))
    text += f"ENTRY %main (x: f32[8]) -> f32[32] {{\n  %x = f32[8]{{0}} parameter(0)\n{body}}}\n"
    assert hlo.work(text).of("all-gather") == 2 * 32 * 4
