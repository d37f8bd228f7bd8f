"""Cutting pictures into patches, and projecting them: against other ways to compute the same."""

import pytest
import torch
from torch.nn import functional as F

from vit_from_scratch.patches import PatchEmbedding, check_images, patchify, to_pair, unpatchify

CUTS = [  # (b, c, h, w), patch_size
    ((2, 3, 32, 32), 8),
    ((1, 1, 4, 6), 2),
    ((2, 3, 12, 20), (4, 5)),
    ((1, 5, 8, 8), (8, 2)),
    ((3, 2, 6, 6), 6),
    ((1, 3, 5, 3), 1),
]


@pytest.mark.parametrize(("shape", "patch_size"), CUTS)
def test_unpatchify_undoes_patchify(shape, patch_size):
    images = torch.randn(shape)
    patches = patchify(images, patch_size)
    ph, pw = to_pair(patch_size)
    assert patches.shape == (shape[0], shape[2] // ph * (shape[3] // pw), shape[1] * ph * pw)
    assert torch.equal(unpatchify(patches, patch_size, shape[2:]), images)


@pytest.mark.parametrize(("shape", "patch_size"), CUTS)
def test_patches_are_read_row_by_row(shape, patch_size):
    images = torch.randn(shape)
    ph, pw = to_pair(patch_size)
    by_hand = [
        images[:, :, top : top + ph, left : left + pw].flatten(1)
        for top in range(0, shape[2], ph)
        for left in range(0, shape[3], pw)
    ]
    assert torch.equal(patchify(images, patch_size), torch.stack(by_hand, dim=1))


def test_patchify_takes_memory_in_any_order():
    images = torch.randn(2, 12, 8, 3).permute(0, 3, 1, 2)  # as a picture file has it: channels last
    assert not images.is_contiguous()
    assert torch.equal(patchify(images, 4), patchify(images.contiguous(), 4))
    patches = patchify(images, 4).transpose(1, 2).contiguous().transpose(1, 2)
    assert not patches.is_contiguous()
    assert torch.equal(unpatchify(patches, 4, (12, 8)), images)


@pytest.mark.parametrize(("shape", "patch_size"), CUTS)
def test_patch_embedding_is_a_linear_layer_on_patches(shape, patch_size):
    embedding = PatchEmbedding(shape[2:], patch_size, num_channels=shape[1], emb_dim=7).double()
    images = torch.randn(shape, dtype=torch.float64)
    out = embedding(images)
    weight, bias = embedding.projection.weight.flatten(1), embedding.projection.bias
    unfolded = F.unfold(images, to_pair(patch_size), stride=to_pair(patch_size)).transpose(1, 2)
    assert out.shape == (shape[0], embedding.num_patches, 7)
    torch.testing.assert_close(out, F.linear(unfolded, weight, bias), rtol=0, atol=1e-12)
    torch.testing.assert_close(out, F.linear(patchify(images, patch_size), weight, bias), rtol=0, atol=1e-12)


def test_gradient_reaches_every_pixel_and_every_parameter():
    embedding = PatchEmbedding((8, 12), 4, num_channels=3, emb_dim=5)
    images = torch.randn(2, 3, 8, 12, requires_grad=True)
    embedding(images).square().sum().backward()
    assert (images.grad != 0).all()
    assert all((parameter.grad != 0).all() for parameter in embedding.parameters())


def test_sizes_are_an_int_or_a_pair(refuses):
    assert to_pair(4) == to_pair((4, 4)) == to_pair([4, 4]) == (4, 4)
    for size in (7.5, "8", None, True, (1, 2, 3), (4.0, 4), ()):
        with refuses(TypeError, f"patch_size is {size!r}", "expected a whole number"):
            to_pair(size, "patch_size")
    for size in (0, -4, (4, 0), (-1, 4)):
        with refuses(ValueError, f"patch_size is {size!r}", "at least 1"):
            to_pair(size, "patch_size")


@pytest.mark.parametrize(
    ("size", "patch_size", "way_out"),
    [
        ((30, 32), 4, "use 28 or 32 in place of 30"),
        ((32, 30), (4, 4), "use 28 or 32 in place of 30"),
        ((8, 12), (8, 8), "use 8 or 16 in place of 12"),
        ((8, 8), 16, "use 16 in place of 8"),
    ],
)
def test_a_patch_size_that_does_not_divide_is_refused(refuses, size, patch_size, way_out):
    parts = (str(size), str(to_pair(patch_size)), "not divisible", way_out)
    with refuses(ValueError, *parts):
        patchify(torch.zeros(1, 3, *size), patch_size)
    with refuses(ValueError, *parts):
        unpatchify(torch.zeros(1, 4, 48), patch_size, size)
    with refuses(ValueError, *parts):
        PatchEmbedding(size, patch_size, num_channels=3, emb_dim=8)


@pytest.mark.parametrize("shape", [(1, 3, 48), (1, 5, 48), (1, 4, 47), (4, 48), (1, 4, 3, 16)])
def test_patches_that_do_not_tile_are_refused(refuses, shape):
    with refuses(ValueError, str(shape), "expected (b, 4, c * 16)", "image_size (8, 8)"):
        unpatchify(torch.zeros(shape), 4, 8)


def test_images_are_a_batch_of_floats(refuses):
    check_images(torch.zeros(1, 3, 8, 8), 3, (8, 8))
    check_images(torch.zeros(1, 3, 8, 8, dtype=torch.float16))
    with refuses(TypeError, "images is a list", "float tensor (b, c, h, w)"):
        check_images([1, 2, 3])
    for dtype in (torch.uint8, torch.int64, torch.bool):
        with refuses(TypeError, f"images is {dtype}", "normalize(images)"):
            check_images(torch.zeros(1, 3, 8, 8, dtype=dtype))
    with refuses(ValueError, "(3, 8, 8)", "images[None]"):
        check_images(torch.zeros(3, 8, 8))
    with refuses(ValueError, "(8, 8)", "four dimensions"):
        check_images(torch.zeros(8, 8))
