"""Where the cells of a panorama's latent lie in each view, and the numbers that say how it sees."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from test_rig_files import PARAMETERS

from spidereye.camera import Camera
from spidereye.latent_grid import RAYS, SIGHT, latent_grid
from spidereye.lenses import LENSES, lens_of, plane_of
from spidereye.lenses.families import family
from spidereye.render import select
from spidereye.rig import spider4
from spidereye.rotation import from_degrees
from spidereye.view_weights import clearance

ZH, ZW = 4, 8
COSINE, MARGIN, SCALE, WAYS, NEARNESS = 0, 1, 2, slice(3, 7), 7


def camera_of(lens, yaw=0.0, pitch=0.0, position=(0.0, 0.0, 0.0), circle=math.inf, **values):
    place = torch.tensor(position, dtype=torch.float64)
    return Camera("view", lens, from_degrees(yaw, pitch, 7.0), place, circle, **values)


def rays_of_cells(height=ZH, width=ZW):
    """World rays [T, zH, zW, 3]: those of the panorama RAYS times as fine, by hand."""
    made = torch.empty(RAYS**2, height, width, 3, dtype=torch.float64)
    for down in range(RAYS):
        for across in range(RAYS):
            for row in range(height):
                for column in range(width):
                    v = (row + (down + 0.5) / RAYS) / height
                    u = (column + (across + 0.5) / RAYS) / width
                    latitude, longitude = (0.5 - v) * math.pi, (2 * u - 1) * math.pi
                    made[down * RAYS + across, row, column] = torch.tensor(
                        [
                            math.cos(latitude) * math.sin(longitude),
                            math.sin(latitude),
                            math.cos(latitude) * math.cos(longitude),
                        ]
                    )
    return made


def mixed_cameras():
    """One camera of every lens, each with a size, a pose and a place of its own."""
    made = []
    for number, model in enumerate(LENSES):
        plane = plane_of(320, 240, fx=101 / 3, fy=100 / 3, cx=155.1, cy=121.7)
        if model == "ocam":  # its focal length is in the polynomial
            plane["matrix"] = torch.eye(2, dtype=torch.float64)
        size = (160 + 32 * number, 120 + 24 * number)
        lens = lens_of(model, plane, PARAMETERS[model]).resized(*size)
        visible = torch.ones(size[1], size[0], dtype=torch.bool)
        visible[: size[1] // 3, : size[0] // 2] = False
        made.append(
            camera_of(
                lens,
                60.0 * number,
                20.0 * number - 50,
                (0.1, -0.05, 0.02 * number),
                circle=0.45 * size[0],
                visible=visible if number % 2 else None,
            )
        )
    return made


@pytest.mark.parametrize("radii", [(math.inf,), (math.inf, 3.0, 1.0)])
def test_places_are_where_cameras_project_the_rays(radii):
    cameras, rays = mixed_cameras(), rays_of_cells()
    grid = latent_grid(cameras, ZH, ZW, radii)
    points = RAYS**2 * len(radii)
    assert grid.place.shape == (1, len(cameras), points, ZH, ZW, 2)
    assert grid.sight.shape == (1, len(cameras), points, ZH, ZW, SIGHT)
    for view, camera in enumerate(cameras):
        for number, radius in enumerate(radii):
            pixels, seen = camera.project(rays, radius)
            here = slice(number * RAYS**2, (number + 1) * RAYS**2)
            assert torch.equal(grid.seen[0, view, here], seen) and 0 < seen.sum() < seen.numel()
            size = torch.tensor([camera.lens.width, camera.lens.height])
            # The first pixel's centre lies half a pixel inside the edge, which is -1.
            expected = 2 * (pixels + 0.5) / size - 1
            got = grid.place[0, view, here].double()
            assert torch.allclose(got[seen], expected[seen], atol=1e-6)
            assert bool((got[~seen] == 0).all())
            sight = grid.sight[0, view, here]
            assert bool((sight[~seen] == 0).all())
            assert bool((sight[seen][:, NEARNESS] == 1 / radius).all())
    assert all(bool(torch.isfinite(part).all()) for part in grid)


def test_off_centre_cameras_look_from_where_they_stand():
    """An equidistant camera's picture of a point, by plain trigonometry."""
    lens = family("equidistant", math.radians(95), 32, 64)
    position, radius = (0.15, -0.1, 0.3), 0.9
    camera = replace(camera_of(lens, position=position), rotation=torch.eye(3).double())
    grid = latent_grid([camera], ZH, ZW, (radius,))
    focal, seen = 32 / math.radians(95), 0
    rays = rays_of_cells()
    for point, row, column in product(range(RAYS**2), range(ZH), range(ZW)):
        ray = rays[point, row, column].tolist()
        x, y, z = (radius * a - b for a, b in zip(ray, position, strict=True))
        angle = math.atan2(math.hypot(x, y), z)
        reach = focal * angle / math.hypot(x, y)
        u, v = 31.5 + reach * x, 31.5 - reach * y  # rows run down
        inside = abs(u - 31.5) <= 32 and abs(v - 31.5) <= 32
        assert bool(grid.seen[0, 0, point, row, column]) == inside
        if inside:
            seen += 1
            got = grid.place[0, 0, point, row, column].tolist()
            assert got == pytest.approx([(u - 31.5) / 32, (v - 31.5) / 32], abs=1e-6)
            sight = grid.sight[0, 0, point, row, column]
            cosine = z / math.sqrt(x * x + y * y + z * z)
            assert float(sight[COSINE]) == pytest.approx(cosine, abs=1e-6)
    assert 30 < seen < 100


def test_sight_on_the_axis_of_a_view():
    """A camera that looks along one of the rays: everything about that point is known."""
    ray = rays_of_cells()[3, 1, 5]
    east = torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0]).double(), ray)
    east = east / east.norm()
    # Columns: where right, up and forward of the camera point to.
    rotation = torch.stack((east, torch.linalg.cross(ray, east), ray), dim=1)
    lens = family("equidistant", math.radians(95), 30, 60, 90)
    camera = Camera("view", lens, rotation, torch.zeros(3).double(), 30.0)
    sight = latent_grid([camera], ZH, ZW).sight[0, 0, 3, 1, 5]
    assert float(sight[COSINE]) == pytest.approx(1, abs=1e-6)
    assert float(sight[MARGIN]) == pytest.approx(1, abs=1e-4)
    focal = 30 / math.radians(95)  # pixels a radian, on the axis in every direction
    right, up = [focal / 60, 0.0], [0.0, -focal / 90]
    scale = math.hypot(focal / 60, focal / 90)
    assert float(sight[SCALE]) == pytest.approx(math.log(scale), abs=1e-3)
    expected = [value / scale for value in (*right, *up)]
    assert sight[WAYS].tolist() == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("radius", [math.inf, 1.5])
def test_sight_is_margin_and_jacobian_of_the_projection(radius):
    """Against differences to both sides, along meridians and parallels on the sphere itself."""
    cameras, rays = mixed_cameras(), rays_of_cells()
    grid = latent_grid(cameras, ZH, ZW, (radius,))
    latitude = torch.asin(rays[..., 1])
    longitude = torch.atan2(rays[..., 0], rays[..., 2])

    def at(more_east, more_north):
        # A step to the east is one of the great circle, not of the longitude.
        lon, lat = longitude + more_east / latitude.cos(), latitude + more_north
        return torch.stack((lat.cos() * lon.sin(), lat.sin(), lat.cos() * lon.cos()), dim=-1)

    step = 1e-5
    for view, camera in enumerate(cameras):
        seen = grid.seen[0, view]
        size = torch.tensor([camera.lens.width, camera.lens.height])
        # Where a lens ends a step may lead to no pixel, or to one far away.
        inside = seen & (grid.sight[0, view, ..., MARGIN] > 0.1)
        jacobian = [
            (camera.project(at(e, n), radius)[0] - camera.project(at(-e, -n), radius)[0])
            / (2 * step * size)
            for e, n in ((step, 0.0), (0.0, step))
        ]
        ways = torch.cat(jacobian, dim=-1)
        scale = ways.norm(dim=-1, keepdim=True)
        sight = grid.sight[0, view].double()
        torch.testing.assert_close(sight[inside][:, SCALE], scale.log()[inside][:, 0], **LOOSE)
        torch.testing.assert_close(sight[inside][:, WAYS], (ways / scale)[inside], **LOOSE)
        margin = clearance(camera, camera.project(rays, radius)[0]).clamp(max=1)
        torch.testing.assert_close(sight[seen][:, MARGIN], margin[seen], rtol=0, atol=1e-6)
        towards = rays if math.isinf(radius) else radius * rays - camera.position
        cosine = torch.nn.functional.normalize(towards, dim=-1) @ camera.axis
        torch.testing.assert_close(sight[seen][:, COSINE], cosine[seen], rtol=0, atol=1e-6)


LOOSE = {"rtol": 0, "atol": 0.01}  # a step of 1e-3 to one side is not the derivative


def test_a_batch_of_cameras_is_each_by_itself():
    rig = spider4(20.0, 0.85, 48)
    source = torch.Generator().manual_seed(0)
    batch = []
    for camera in rig.cameras:
        turns = 5 * torch.randn(3, 3, generator=source, dtype=torch.float64)
        shaken = torch.stack([from_degrees(*angles.tolist()) for angles in turns])
        wide = camera.expanded(3)
        lens = wide.lens.zoomed(torch.tensor([0.9, 1.0, 1.2], dtype=torch.float64))
        place = 0.1 * torch.randn(3, 3, generator=source, dtype=torch.float64)
        batch.append(replace(wide, lens=lens, rotation=wide.rotation @ shaken, position=place))
    radii = (math.inf, 2.0)
    together = latent_grid(batch, ZH, ZW, radii)
    assert together.place.shape[0] == 3
    for one in range(3):
        alone = latent_grid([select(camera, one) for camera in batch], ZH, ZW, radii)
        for part, single in zip(together, alone, strict=True):
            assert torch.allclose(part[one].float(), single[0].float(), atol=1e-6)
    # Cameras of a rig beside cameras of a batch.
    mixed = latent_grid([batch[0], rig.cameras[1]], ZH, ZW, radii)
    assert torch.equal(mixed.seen[2, 1], latent_grid(rig.cameras, ZH, ZW, radii).seen[0, 1])
    assert torch.allclose(mixed.place[2, 0], together.place[2, 0], atol=1e-6)


def test_the_order_of_the_cameras_is_the_order_of_the_views():
    cameras, order = mixed_cameras(), [3, 0, 5, 1, 4, 2]
    whole = latent_grid(cameras, ZH, ZW, (4.0, 1.0))
    other = latent_grid([cameras[number] for number in order], ZH, ZW, (4.0, 1.0))
    assert all(torch.equal(a[:, order], b) for a, b in zip(whole, other, strict=True))
