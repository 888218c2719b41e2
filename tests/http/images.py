#!/usr/bin/env python3
"""images.py URL "GROUP...": what the job type "image" makes, compared with Pillow; for image.bats. Each function below is a
group. It is for Debian's python3-pil and python3-numpy (/usr/bin/python3).

How far two images may be apart is said where they are compared, as the most that a channel of a pixel may differ and as
the mean of all differences, of 255:

    exact       0, 0        flips, turns by 90 degrees, crops, PNG and TIFF
    rounding    1, 0.6      a matrix: the sums are rounded in another way
    blur        6, 0.6      Pillow makes a bell of three boxes, which is up to 5.7 away from a true one at these edges
    sharpen     12, 1       the same, times the amount
    resampling  16, 0.8     Lanczos in fixed point, and another rounding of the second side
    lossy       (by format) the mean alone
"""
import email.parser
import email.policy
import http.client
import io
import json
import struct
import sys
import urllib.parse
import zlib

import numpy
from PIL import Image, ImageCms, ImageFilter, ImageOps

ADDRESS = sys.argv[1].split("//")[1]
FORMATS = ("jpeg", "png", "webp", "avif", "tiff", "gif")
LOSSY = {"jpeg": 4, "webp": 4, "avif": 4, "gif": 5}  # the mean difference, with the quality that is used if none is given
EXACT, ROUNDING, BLUR, SHARPEN, RESAMPLING = (0, 0), (1, 0.6), (6, 0.6), (12, 1), (16, 0.8)


# ---- to ask ----------------------------------------------------------------------------------------------------------


def request(method, path, body=None, **headers):
    """Status, headers and body of the answer."""
    connection = http.client.HTTPConnection(ADDRESS, timeout=60)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    found = answer.status, answer.headers, answer.read()
    connection.close()
    return found


def ask(data, accept="image/*", **params):
    """The body is the image, and the query is the job."""
    params = {name: json.dumps(value) if isinstance(value, list) else value for name, value in params.items()}
    query = urllib.parse.urlencode({"type": "image", **params})
    return request("POST", f"/v1/jobs?{query}", data, Accept=accept, Content_Type="application/octet-stream")


def done(data, **params):
    """The bytes of the result."""
    status, headers, body = ask(data, **params)
    assert status == 200 and headers["Content-Type"].startswith("image/"), (params, status, body[:600])
    return body


def worked(data, **params):
    return opened(done(data, **params))


def refused(pointer, words, data, **params):
    """The job is answered with 422, for that pointer, and in these words."""
    status, _, body = ask(data, **params)
    assert status == 422, (params, status, body[:100])
    problem = json.loads(body)
    assert problem["code"] == "invalid_params", problem
    assert any(error["pointer"] == pointer and words in error["detail"] for error in problem["errors"]), problem


# ---- images ----------------------------------------------------------------------------------------------------------


def file_of(image, form="png", **options):
    to = io.BytesIO()
    image.save(to, form, **options)
    return to.getvalue()


def opened(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def picture(width=150, height=100):
    """Edges in red, slopes in green and blue."""
    size = (width, height)
    return Image.merge("RGB", (Image.effect_mandelbrot(size, (-2.2, -1.4, 0.8, 1.4), 60),
                               Image.linear_gradient("L").resize(size), Image.radial_gradient("L").resize(size)))


def clear_picture():
    """With an alpha channel: invisible on the left."""
    image = picture()
    image.putalpha(Image.linear_gradient("L").rotate(90).resize(image.size))
    return image


def moving(form, count=3, size=(40, 30), **options):
    frames = [Image.new("RGB", size, color) for color in (("red", "lime", "blue") * count)[:count]]
    for number, frame in enumerate(frames):
        frame.paste("white", (number, 0, number + 8, 10))
    if form == "webp":
        options["lossless"] = True
    return file_of(frames[0], form, save_all=True, append_images=frames[1:], duration=[100 * (i + 1) for i in range(count)],
                   loop=2, **options)


def png_head(width, height, depth=8, color=2):
    """A PNG file that ends after its head and the first bytes of its data."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)) + \
        chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def apart(one, other):
    """The most, and the mean."""
    assert one.size == other.size and one.mode == other.mode, (one.size, one.mode, other.size, other.mode)
    difference = numpy.abs(numpy.asarray(one).astype(int) - numpy.asarray(other).astype(int))
    return difference.max(), difference.mean()


def close(one, other, bounds, what=""):
    most, mean = apart(one, other)
    assert most <= bounds[0] and mean <= bounds[1], f"{what} differs by {most}, and {mean:.3f} in the mean; allowed: {bounds}"


# ---- filters ---------------------------------------------------------------------------------------------------------


def filters():
    image = picture()
    data = file_of(image)
    sepia = (0.393, 0.769, 0.189, 0, 0.349, 0.686, 0.168, 0, 0.272, 0.534, 0.131, 0)
    close(worked(data, filter="convert"), image, EXACT, "convert")
    close(worked(data, filter="grayscale"), image.convert("L"), ROUNDING, "grayscale")
    close(worked(data, filter="sepia"), image.convert("RGB", sepia), ROUNDING, "sepia")
    for sigma in (1, 2.5, 8):
        close(worked(data, filter="blur", sigma=sigma), image.filter(ImageFilter.GaussianBlur(sigma)), BLUR, f"blur {sigma}")
    close(worked(data, filter="blur"), image.filter(ImageFilter.GaussianBlur(2)), BLUR, "blur")
    close(worked(data, filter="sharpen", sigma=2, amount=0.5), image.filter(ImageFilter.UnsharpMask(2, 50, 0)), SHARPEN, "sharpen")
    close(worked(data, filter="sharpen"), image.filter(ImageFilter.UnsharpMask(2, 150, 0)), SHARPEN, "sharpen")
    close(worked(data, filter="crop", left=10, top=20, width=50, height=60), image.crop((10, 20, 60, 80)), EXACT, "crop")
    close(worked(data, filter="crop", width=150, height=100), image, EXACT, "crop of all")
    close(worked(data, filter="flip"), ImageOps.mirror(image), EXACT, "flip")
    close(worked(data, filter="flip", direction="vertical"), ImageOps.flip(image), EXACT, "flip")
    for angle in (0, 90, 180, 270, 360, -90, -360):
        close(worked(data, filter="rotate", angle=angle), image.rotate(-angle, expand=True), EXACT, f"rotate {angle}")
    close(worked(data, filter="rotate"), image.transpose(Image.ROTATE_270), EXACT, "rotate")
    turned = worked(data, filter="rotate", angle=45)  # the corners are clear, the middle stays
    assert turned.mode == "RGBA" and turned.getpixel((0, 0))[3] == 0, turned.getpixel((0, 0))
    mine, theirs = (im.crop((60, 60, 110, 110)).convert("RGB")
                    for im in (turned, image.rotate(-45, Image.BILINEAR, expand=True).resize(turned.size)))
    assert apart(mine, theirs)[1] < 6, apart(mine, theirs)
    white = worked(data, filter="rotate", angle=45, format="jpeg")
    assert min(white.getpixel((0, 0))) > 250, white.getpixel((0, 0))


def thumbnails():
    image = picture(300, 200)
    data = file_of(image)
    for box in ((100, 100), (50, 150), (150, 199), (30, 30)):
        expected = image.copy()
        expected.thumbnail(box, Image.LANCZOS, reducing_gap=None)
        close(worked(data, filter="thumbnail", width=box[0], height=box[1]), expected, RESAMPLING, f"thumbnail {box}")
    close(worked(data, filter="thumbnail", width=500), image, EXACT, "no thumbnail is larger")
    sizes = {(("width", 60),): (60, 40), (("height", 60),): (90, 60), (("width", 60), ("height", 60), ("fit", "cover")): (60, 60),
             (("width", 60), ("height", 60), ("fit", "fill")): (60, 60), (("height", 100), ("fit", "cover")): (150, 100),
             (("width", 600), ("fit", "fill")): (600, 400), (("width", 1), ("fit", "inside")): (1, 1)}
    for params, size in sizes.items():
        for ops in (False, True):
            given = {"ops": [{"filter": "convert"}, {"filter": "thumbnail", **dict(params)}]} if ops \
                else {"filter": "thumbnail", **dict(params)}
            assert worked(data, **given).size == size, (params, ops, worked(data, **given).size)
    close(worked(data, filter="thumbnail", width=60, height=60, fit="cover"),
          ImageOps.fit(image, (60, 60), Image.LANCZOS), RESAMPLING, "cover")
    close(worked(data, filter="thumbnail", width=60, height=60, fit="fill"), image.resize((60, 60), Image.LANCZOS), RESAMPLING, "fill")
    # The decoder of JPEG leaves out what is not needed: another way of scaling.
    large = picture(1600, 1000)
    for form, mean in (("jpeg", 2), ("webp", 3), ("png", 1), ("tiff", 1)):
        mine = worked(file_of(large, form), filter="thumbnail", width=160, format="png")
        difference = apart(mine, large.resize((160, 100), Image.LANCZOS))
        assert difference[1] < mean, (form, difference)


def order():
    """Several operations, one after the other, are what Pillow makes of them in that order."""
    image = picture()
    data = file_of(image)
    ops = [{"filter": "rotate", "angle": 90}, {"filter": "crop", "left": 5, "top": 7, "width": 80, "height": 100},
           {"filter": "flip", "direction": "vertical"}, {"filter": "grayscale"}]
    expected = ImageOps.flip(image.transpose(Image.ROTATE_270).crop((5, 7, 85, 107))).convert("L")
    close(worked(data, ops=ops), expected, ROUNDING, "four operations")
    ops = [{"filter": "crop", "width": 80, "height": 40}, {"filter": "rotate"}]
    close(worked(data, ops=ops), image.crop((0, 0, 80, 40)).transpose(Image.ROTATE_270), EXACT, "crop, rotate")
    close(worked(data, ops=ops[::-1]), image.transpose(Image.ROTATE_270).crop((0, 0, 80, 40)), EXACT, "rotate, crop")
    close(worked(data, ops=[]), image, EXACT, "no operation")
    twelve = worked(data, ops=[{"filter": "flip"}] * 12)
    close(twelve, image, EXACT, "twelve flips")
    expected = image.copy()
    expected.thumbnail((60, 60), Image.LANCZOS, reducing_gap=None)
    close(worked(data, ops=[{"filter": "thumbnail", "width": 60, "height": 60}, {"filter": "blur", "sigma": 1.5}]),
          expected.filter(ImageFilter.GaussianBlur(1.5)), RESAMPLING, "thumbnail, blur")
    ops = [{"filter": "blur", "sigma": 3}, {"filter": "sharpen"}, {"filter": "sepia"}, {"filter": "rotate"}] * 3
    for whole in data, file_of(clear_picture()):
        step = whole
        for op in ops:
            step = done(step, **op)
        close(worked(whole, ops=ops), opened(step), EXACT, "twelve operations at once, and one by one")


# ---- formats ---------------------------------------------------------------------------------------------------------


def formats():
    """From every format to every format, and what Pillow reads of it."""
    image = picture()
    files = {name: done(file_of(image), filter="convert", format=name) for name in FORMATS}
    for source, data in files.items():
        for target in FORMATS:
            made = done(data, filter="convert", format=target)
            if target == "avif":  # Pillow does not read it
                assert made[4:12] == b"ftypavif", made[:16]
                made = done(made, filter="convert", format="png")
            result = opened(made)
            assert target == "avif" or result.format.lower() == target, (target, result.format)
            mean = apart(result.convert("RGB"), image)[1]
            most = LOSSY.get(source, 0) + LOSSY.get(target, 0)
            assert mean <= most, f"{source} to {target} differs by {mean:.3f} in the mean"
        if source != "avif":
            close(worked(data, filter="flip", format="png").convert("RGB"), ImageOps.mirror(opened(data).convert("RGB")),
                  (4, 0.5), f"{source} as Pillow reads it")  # another decoder
    sizes = [len(done(file_of(image), filter="convert", format="jpeg", quality=q)) for q in (10, 50, 95)]
    assert sizes == sorted(set(sizes)), sizes
    # What Pillow writes, in other kinds of the formats.
    close(worked(file_of(image, "tiff", compression="tiff_lzw"), filter="flip"), ImageOps.mirror(image), EXACT, "LZW")
    close(worked(file_of(image, "webp", lossless=True), filter="flip", format="png"), ImageOps.mirror(image), EXACT, "lossless")
    close(worked(file_of(image, "jpeg", progressive=True), filter="convert", format="png"),
          opened(file_of(image, "jpeg", progressive=True)), (4, 0.5), "progressive")


def choosing():
    """Of the format: the parameter, then Accept, then the image itself."""
    data = file_of(picture(), "jpeg")
    for accept, params, expected in (
            ("image/*", {}, "image/jpeg"), ("image/webp", {}, "image/webp"), ("image/png;q=0.5, image/webp", {}, "image/webp"),
            ("image/png, image/webp;q=0.9, */*;q=0.1", {}, "image/png"), ("image/webp", {"format": "png"}, "application/json"),
            ("image/*", {"format": "gif"}, "image/gif"), ("image/jpeg;q=0, image/tiff", {}, "image/tiff"),
            ("*/*", {}, "application/json"), ("application/json", {}, "application/json")):
        status, headers, body = ask(data, accept=accept, filter="sepia", **params)
        assert status == 200 and headers["Content-Type"].split(";")[0] == expected, (accept, params, status, headers["Content-Type"])
        if expected == "application/json":
            job = json.loads(body)
            chosen = params.get("format", "jpeg")
            assert job["status"] == "succeeded" and job["result_media_type"] == f"image/{chosen}", job
            _, headers, body = request("GET", job["links"]["result"])
            assert headers["Content-Type"] == f"image/{chosen}" and len(body) == job["result_size"], headers
        else:
            assert Image.open(io.BytesIO(body)).get_format_mimetype() == expected, accept


def animation():
    """The frames, how long they are shown, and how often all of them are."""
    for source in ("gif", "webp"):
        data = moving(source)
        for target in ("gif", "webp"):
            for params, size, corner in (({"filter": "convert"}, (40, 30), (39, 29)),
                                         ({"filter": "thumbnail", "width": 20}, (20, 15), (19, 14)),
                                         ({"filter": "thumbnail", "width": 20, "height": 20, "fit": "cover"}, (20, 20), (19, 19)),
                                         ({"filter": "rotate"}, (30, 40), (0, 39)),
                                         ({"filter": "flip", "direction": "vertical"}, (40, 30), (39, 0)),
                                         ({"filter": "crop", "left": 20, "top": 15, "width": 10, "height": 12}, (10, 12), (5, 5)),
                                         ({"ops": [{"filter": "rotate"}, {"filter": "thumbnail", "width": 15}]}, (15, 20), (0, 19))):
                result = opened(done(data, format=target, **params))
                # GIF counts how often it is repeated, WebP how often it is shown.
                loop = 2 + (target == "webp") - (source == "webp")
                assert result.size == size and result.n_frames == 3 and result.info["loop"] == loop, \
                    (source, target, params, result.size, result.n_frames, result.info)
                for number, color in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 255))):
                    result.seek(number)
                    result.load()
                    pixel = result.convert("RGB").getpixel(corner)
                    assert max(abs(a - b) for a, b in zip(pixel, color)) < 25, (source, target, params, number, pixel)
                    assert result.info["duration"] == 100 * (number + 1), (source, target, params, number, result.info)
        still = worked(data, filter="convert", format="png")
        assert getattr(still, "n_frames", 1) == 1 and still.convert("RGB").getpixel((39, 29)) == (255, 0, 0), still
        assert worked(data, filter="thumbnail", width=20, format="png").size == (20, 15)
    # The edges of a frame are no part of its neighbour.
    blurred = opened(done(moving("gif"), filter="blur", sigma=10, format="webp", quality=100))
    for number, channel in enumerate((0, 1, 2)):
        blurred.seek(number)
        pixel = blurred.convert("RGB").getpixel((35, 29))
        assert pixel[channel] > 230 and max(pixel[c] for c in range(3) if c != channel) < 40, (number, pixel)
    close(worked(done(moving("gif"), filter="sepia", format="webp"), filter="convert", format="png").convert("RGB").crop((20, 15, 40, 30)),
          Image.new("RGB", (20, 15), (100, 89, 69)), (6, 6), "sepia of red")


# ---- kinds of images -------------------------------------------------------------------------------------------------


def orientation():
    """All eight of EXIF, as Pillow turns them; without a filter, and with one that comes after."""
    image = picture(48, 32)
    for number in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = number
        exif[0x010E] = "a description"
        data = file_of(image, "jpeg", quality=95, exif=exif)
        upright = ImageOps.exif_transpose(opened(data))
        result = worked(data, filter="convert", format="png")
        close(result, upright, (4, 0.5), f"orientation {number}")
        assert not result.getexif(), dict(result.getexif())
        small = worked(data, filter="thumbnail", width=16, height=16, format="png")
        expected = upright.copy()
        expected.thumbnail((16, 16), Image.LANCZOS, reducing_gap=None)
        assert small.size == expected.size and apart(small, expected)[1] < 6, (number, small.size, apart(small, expected))
        cut = worked(data, filter="crop", width=8, height=20, format="png")
        close(cut, upright.crop((0, 0, 8, 20)), (4, 0.5), f"crop of orientation {number}")
        kept = worked(data, filter="flip", keep_metadata="true")
        assert kept.getexif().get(0x010E) == "a description" and kept.getexif().get(0x0112, 1) == 1, dict(kept.getexif())
        plain = worked(data, filter="flip")
        assert not plain.getexif() and "exif" not in plain.info, plain.info


def profiles():
    """Colours come out as sRGB, and without a profile."""
    image = picture(60, 40)
    lab = ImageCms.createProfile("LAB")
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for form in ("png", "jpeg", "tiff", "webp"):
        options = {"lossless": True} if form == "webp" else {"quality": 95} if form == "jpeg" else {}
        result = worked(file_of(image, form, icc_profile=srgb, **options), filter="convert", format="png")
        close(result, opened(file_of(image, form, **options)).convert("RGB"), (6, 0.8), f"sRGB in {form}")
        assert "icc_profile" not in result.info, form
    # A profile whose red and blue are exchanged: the columns rXYZ and bXYZ of the table of tags.
    swapped = srgb.replace(b"rXYZ", b"?XYZ").replace(b"bXYZ", b"rXYZ").replace(b"?XYZ", b"bXYZ")
    red, green, blue = image.split()
    expected = Image.merge("RGB", (blue, green, red))
    for params in ({"filter": "convert"}, {"filter": "thumbnail", "width": 60}):
        close(worked(file_of(image, icc_profile=swapped), **params), expected, (6, 1.5), f"exchanged channels, {params}")
    grey = worked(file_of(image, icc_profile=swapped), filter="grayscale", keep_metadata="true")
    assert grey.mode == "L" and "icc_profile" not in grey.info, grey
    # One that is damaged, or that is not for such an image, is as good as none.
    for profile in (b"nonsense" * 40, srgb[:200], ImageCms.ImageCmsProfile(lab).tobytes()):
        close(worked(file_of(image, icc_profile=profile), filter="convert"), image, EXACT, "a bad profile")
        close(worked(file_of(image.convert("L"), icc_profile=profile), filter="thumbnail", width=60), image.convert("L"), EXACT, "a bad profile")
    # CMYK: the printed colours, which are duller than what Pillow computes.
    inks = (((0, 255, 255, 0), (200, 0, 0), (255, 70, 80)), ((0, 0, 0, 0), (250, 250, 250), (255, 255, 255)),
            ((255, 0, 0, 0), (0, 130, 190), (60, 190, 255)), ((0, 0, 0, 255), (0, 0, 0), (60, 60, 60)))
    print_ = Image.new("CMYK", (64, 16))
    for number, (ink, _, _) in enumerate(inks):
        print_.paste(ink, (16 * number, 0, 16 * number + 16, 16))
    for form, params, step in (("jpeg", {"filter": "convert"}, 16), ("jpeg", {"filter": "thumbnail", "width": 32}, 8),
                               ("tiff", {"filter": "blur", "sigma": 0.5}, 16)):
        result = worked(file_of(print_, form, quality=95), format="png", **params)
        assert result.mode == "RGB"
        for number, (ink, low, high) in enumerate(inks):
            pixel = result.getpixel((step * number + step // 2, step // 2))
            assert all(a <= b <= c for a, b, c in zip(low, pixel, high)), (ink, form, params, pixel)


def kinds():
    """Grey, with alpha, with a palette, of 16 bits and of one, of one pixel."""
    image = picture()
    grey = image.convert("L")
    for params, expected, bounds in (
            ({"filter": "convert"}, grey, EXACT), ({"filter": "grayscale"}, grey, EXACT),
            ({"filter": "rotate"}, grey.transpose(Image.ROTATE_270), EXACT),
            ({"filter": "blur"}, grey.filter(ImageFilter.GaussianBlur(2)), BLUR),
            ({"filter": "thumbnail", "width": 75}, grey.resize((75, 50), Image.LANCZOS), RESAMPLING)):
        close(worked(file_of(grey), **params), expected, bounds, f"grey: {params}")
    assert worked(file_of(grey), filter="sepia").mode == "RGB"
    assert worked(file_of(grey), filter="convert", format="jpeg").mode == "L"

    clear = clear_picture()
    data = file_of(clear)
    close(worked(data, filter="convert"), clear, EXACT, "alpha")
    close(worked(data, filter="flip"), ImageOps.mirror(clear), EXACT, "alpha, flip")
    for name in ("sepia", "grayscale", "sharpen"):  # alpha stays as it is
        close(worked(data, filter=name).getchannel("A"), clear.getchannel("A"), EXACT, f"alpha, {name}")
    assert worked(data, filter="grayscale").mode == "LA"
    close(worked(data, filter="blur").getchannel("A"), clear.getchannel("A").filter(ImageFilter.GaussianBlur(2)), (3, 0.6), "alpha, blur")
    half = Image.new("RGBA", (40, 40), (0, 0, 0, 0))  # invisible black does not darken the red beside it
    half.paste((255, 0, 0, 255), (20, 0, 40, 40))
    for params in ({"filter": "blur", "sigma": 3}, {"filter": "thumbnail", "width": 13}):
        result = worked(file_of(half), **params)
        pixels = numpy.asarray(result).reshape(-1, 4)
        visible = pixels[pixels[:, 3] > 60]
        assert visible[:, 0].min() > 245 and visible[:, 1:3].max() < 10, (params, visible.min(0), visible.max(0))
    flat = Image.new("RGB", clear.size, "white")
    flat.paste(clear, (0, 0), clear)
    assert apart(worked(data, filter="convert", format="jpeg"), flat)[1] < 3
    for form in ("webp", "tiff", "avif"):
        back = worked(done(data, filter="convert", format=form, quality=95), filter="convert", format="png")
        assert back.mode == "RGBA" and apart(back.getchannel("A"), clear.getchannel("A"))[1] < 2, form
    gif = worked(data, filter="convert", format="gif").convert("RGBA")
    assert gif.getpixel((0, 50))[3] == 0 and gif.getpixel((149, 50))[3] == 255
    both = Image.merge("LA", (grey, clear.getchannel("A")))
    close(worked(file_of(both), filter="flip"), ImageOps.mirror(both), EXACT, "grey and alpha")
    assert worked(file_of(both), filter="sepia").mode == "RGBA"
    assert worked(file_of(both), filter="rotate", angle=10).mode == "LA"

    palette = image.quantize(16)
    close(worked(file_of(palette), filter="convert"), palette.convert("RGB"), EXACT, "palette")
    close(worked(file_of(palette, "gif"), filter="flip", format="png"), ImageOps.mirror(palette.convert("RGB")), EXACT, "palette")
    holes = file_of(palette, transparency=0)
    close(worked(holes, filter="convert"), opened(holes).convert("RGBA"), EXACT, "palette with a hole")
    one_bit = image.convert("1")
    close(worked(file_of(one_bit), filter="convert"), one_bit.convert("L"), EXACT, "one bit")
    deep = worked(file_of(Image.new("I;16", (20, 20), 40000)), filter="convert")
    assert deep.mode == "L" and abs(deep.getpixel((1, 1)) - 40000 / 257) <= 1, deep.getpixel((1, 1))
    rows = b"".join(b"\0" + struct.pack(">3H", 10000, 30000, 65535) * 4 for _ in range(4))
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    deep = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)) + \
        chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    for params in ({"filter": "convert"}, {"filter": "thumbnail", "width": 2}):
        pixel = worked(deep, **params).getpixel((1, 1))
        assert max(abs(a - b / 257) for a, b in zip(pixel, (10000, 30000, 65535))) <= 1, pixel

    dot = file_of(Image.new("RGB", (1, 1), (10, 200, 30)))
    for params in ({"filter": "blur", "sigma": 100}, {"filter": "sharpen"}, {"filter": "sepia"}, {"filter": "rotate", "angle": 45},
                   {"filter": "thumbnail", "width": 1}, {"filter": "thumbnail", "width": 5, "fit": "cover"}, {"filter": "flip"},
                   {"filter": "crop", "width": 1, "height": 1}, *({"filter": "convert", "format": name} for name in FORMATS)):
        done(dot, **params)


# ---- what is refused -------------------------------------------------------------------------------------------------


def parameters():
    """422 with the pointer of what is wrong."""
    data = file_of(picture())
    refused("/params", "filter", data)
    refused("/params/filter", "must be", data, filter="emboss")
    refused("/params/width", 'is not for the filter "blur"', data, filter="blur", width=3)
    refused("/params/sigma", 'is not for the filter "crop"', data, filter="crop", sigma=3, width=1, height=1)
    refused("/params/sigma", "from 0.1 to 100", data, filter="blur", sigma=1e300)
    refused("/params", "height is required", data, filter="crop", width=3)
    refused("/params", "width or height is required", data, filter="thumbnail")
    refused("/params/image", "cannot be cropped", data, filter="crop", left=100, width=51, height=5)
    refused("/params/image", "cannot be cropped", data, filter="crop", width=5, height=101)
    refused("/params/image", "cannot be cropped", data, ops=[{"filter": "rotate"}, {"filter": "crop", "width": 120, "height": 5}])
    refused("/params/quality", "", data, filter="sepia", quality=101)
    refused("/params/format", "", data, filter="sepia", format="bmp")
    blur = {"filter": "blur"}
    for ops, pointer, words in (
            ([{}], "/0", "filter is required"), ([5], "/0", "must be an object"), ([blur, blur, []], "/2", "must be an object"),
            ([{**blur, "radius": 1}], "/0/radius", "is no member"), ([{**blur, "a/b": 1}], "/0", "is no member"),
            ([{**blur, "": 1}], "/0/", "is no member"), ([{**blur, "ü" * 100: 1}], "/0", "is no member"),
            ([{**blur, "sigma": "2"}], "/0/sigma", "must be a number"), ([{**blur, "sigma": 1e300}], "/0/sigma", "from 0.1 to 100"),
            ([{"filter": "rotate", "angle": 1.5}], "/0/angle", "must be an integer"),
            ([{"filter": "rotate", "angle": 1e30}], "/0/angle", "from -360 to 360"),
            ([blur, {"filter": "flip", "direction": "up"}], "/1/direction", '"horizontal", "vertical"'),
            ([blur, {"filter": "flip", "sigma": 1}], "/1/sigma", "is not for the filter"),
            ([{"filter": ["blur"]}], "/0/filter", "must be one of"), ([{"filter": "blurry"}], "/0/filter", "must be one of"),
            ([blur] * 13, "", "more than 12 operations")):
        refused(f"/params/ops{pointer}", words, data, ops=ops)
    refused("/params/ops", "", data, ops='"blur"')
    refused("/params/filter", "cannot be combined with ops", data, ops=[blur], filter="blur")


def hostile():
    """Files that end too early, that lie, and that are none of the six formats. (The log is looked at by image.bats.)"""
    image = picture()
    files = {"jpeg": file_of(image, "jpeg"), "png": file_of(image), "webp": file_of(image, "webp"), "tiff": file_of(image, "tiff"),
             "gif": file_of(image, "gif"), "moving gif": moving("gif"), "moving webp": moving("webp"),
             "avif": done(file_of(image), filter="convert", format="avif")}
    for name, data in files.items():
        for size in (12, 30, len(data) // 4, len(data) // 2):
            for params in ({"filter": "sepia"}, {"filter": "thumbnail", "width": 20}, {"filter": "rotate"}):
                status, _, body = ask(data[:size], format="png", **params)
                if name == "moving gif" and status == 200:
                    continue  # its first frame is whole
                assert status == 422 and json.loads(body)["errors"][0]["pointer"] == "/params/image", (name, size, params, status, body[:300])
        for at in range(20, len(data), max(1, len(data) // 12)):  # what is wrong inside is found, or is a wrong colour
            status, _, body = ask(data[:at] + b"\xff\0\xff" + data[at + 3:], filter="sepia", format="png")
            assert status in (200, 422), (name, at, status, body[:300])
    for data in (b"hello", b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", b"%PDF-1.7\n", b"BM" + bytes(60),
                 bytes(4) + b"ftypheic" + bytes(40), bytes(4) + b"ftypmif1" + bytes(40), b"P6 1 1 255\nabc", b"8BPS" + bytes(40),
                 b"/* XPM */", b"\xff\xd8", b"RIFF" + bytes(4) + b"WAVE", b"II", bytes(200), b"\0\0\0\x0cjP  \r\n\x87\n"):
        refused("/params/image", "is no JPEG, PNG, WebP, AVIF, TIFF or GIF", data, filter="sepia")
    refused("/params", "image is required", b"", filter="sepia")
    refused("/params/image", "30000 x 30000 pixels", png_head(30000, 30000), filter="thumbnail", width=50)
    refused("/params/image", "", png_head(2**31 - 1, 2**31 - 1), filter="sepia")
    refused("/params/image", "damaged", png_head(0, 5), filter="sepia")
    refused("/params/image", "damaged", png_head(5000, 5000), filter="sepia")
    wide = file_of(Image.new("L", (17000, 2)))
    refused("/params/image", "at most 16383", wide, filter="convert", format="webp")
    refused("/params/image", "at most 16384", wide, filter="convert", format="avif")
    assert worked(wide, filter="flip", format="jpeg").size == (17000, 2)


def limits():
    """The service takes 20 000 pixels and five frames: all frames together, and after each operation."""
    assert worked(file_of(picture(200, 100)), filter="flip").size == (200, 100)
    refused("/params/image", "201 x 100 pixels in 1 frame; at most 20000 pixels are taken (--max-image-pixels)",
            file_of(picture(201, 100)), filter="flip")
    for form in ("gif", "webp"):
        assert opened(done(moving(form, 5), filter="flip")).n_frames == 5
        refused("/params/image", "6 frames; at most 5 are taken (--max-image-frames)", moving(form, 6), filter="flip")
        refused("/params/image", "in 5 frames; at most 20000 pixels", moving(form, 5, (100, 50)), filter="flip")
    data = file_of(picture(150, 100))
    refused("/params/filter", "more than 20000 pixels", data, filter="thumbnail", width=200, fit="fill")
    refused("/params/filter", "more than 20000 pixels", data, filter="rotate", angle=45)
    refused("/params/ops/1", "more than 20000 pixels", data,
            ops=[{"filter": "crop", "width": 1, "height": 90}, {"filter": "thumbnail", "width": 100, "fit": "fill"}])
    refused("/params/ops/2", "more than 20000 pixels", file_of(picture(70, 70)), ops=[{"filter": "rotate", "angle": 45}] * 12)
    assert worked(data, ops=[{"filter": "thumbnail", "width": 50}, {"filter": "rotate", "angle": 45}]).size[0] > 50


# ---- several ---------------------------------------------------------------------------------------------------------


def several():
    """Four images with four filters in one form: four items, and their results in one document and one by one."""
    image = picture()
    data = [file_of(image, form) for form in ("png", "tiff", "gif", "png")]
    items = [{"filter": "grayscale"}, {"ops": [{"filter": "flip"}, {"filter": "rotate"}]}, {"filter": "crop", "width": 20, "height": 10},
             {"filter": "thumbnail", "width": 75, "format": "tiff"}]
    job = {"type": "image", "items": items, "options": {"chunks": 4}}
    form = b"--frontier\r\nContent-Disposition: form-data; name=\"job\"\r\n\r\n" + json.dumps(job).encode()
    for part in data:
        form += b"\r\n--frontier\r\nContent-Disposition: form-data; name=\"data\"; filename=\"x\"\r\n\r\n" + part
    form += b"\r\n--frontier--\r\n"
    status, _, body = request("POST", "/v1/jobs", form, Content_Type="multipart/form-data; boundary=frontier")
    job = json.loads(body)
    assert status == 200 and job["status"] == "succeeded" and job["progress"]["total"] == 4, job
    types = [item["result_media_type"] for item in job["result"]["items"]]
    assert types == ["image/png", "image/tiff", "image/gif", "image/tiff"], job["result"]
    expected = [image.convert("L"), ImageOps.mirror(image).transpose(Image.ROTATE_270),
                opened(data[2]).convert("RGB").crop((0, 0, 20, 10)), image.resize((75, 50), Image.LANCZOS)]
    link = job["links"]["result"]
    _, headers, body = request("GET", link)
    assert headers["Content-Type"].startswith("multipart/mixed"), headers["Content-Type"]
    whole = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
        b"Content-Type: " + headers["Content-Type"].encode() + b"\r\n\r\n" + body)
    parts = list(whole.iter_parts())
    assert [part.get_content_type() for part in parts] == types, parts
    for number, (part, wanted) in enumerate(zip(parts, expected)):
        status, headers, alone = request("GET", f"{link}/{number}")
        assert status == 200 and headers["Content-Type"] == types[number], (number, status, headers)
        mode = "L" if number == 0 else "RGB"
        close(opened(alone).convert(mode), wanted, (ROUNDING, EXACT, EXACT, RESAMPLING)[number], f"item {number}")
        assert part.get_payload(decode=True) == alone, number


# ---- without a service -----------------------------------------------------------------------------------------------


def noise(path):
    """Writes a picture that is slow to work on."""
    pixels = numpy.random.default_rng(1).integers(0, 256, (1000, 1000, 3), "uint8")
    Image.fromarray(pixels).save(path, compress_level=0)


if __name__ == "__main__":
    for group in sys.argv[2].split():
        globals()[group](*sys.argv[3:])
