/* WebP files by libwebp: of a moving picture the first frame; what is transparent is laid over
 * white. */
#include "picture.h"

#ifdef CAIRN_WITH_WEBP

#include <string.h>
#include <webp/decode.h>
#include <webp/demux.h>

static uint8_t over_white(int level, int alpha) {
    return (uint8_t)((level * alpha + 255 * (255 - alpha) + 127) / 255);
}

/* Pixels [height, width] of red, green, blue and alpha, to the picture's. */
static void lay_over_white(const uint8_t *from, picture *out) {
    const size_t count = (size_t)out->width * (size_t)out->height;
    for (size_t i = 0; i < count; i++)
        for (size_t c = 0; c < 3; c++)
            out->pixels[3 * i + c] = over_white(from[4 * i + c], from[4 * i + 3]);
}

static picture_outcome decode_still(const WebPData *file, picture *out) {
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config))
        return cairn_picture_refuse(out, "a WebP of a later kind");
    config.output.colorspace = MODE_RGBA;
    const VP8StatusCode status = WebPDecode(file->bytes, file->size, &config);
    if (status == VP8_STATUS_OK)
        lay_over_white(config.output.u.RGBA.rgba, out);
    WebPFreeDecBuffer(&config.output);
    return status == VP8_STATUS_OK              ? PICTURE_DECODED
           : status == VP8_STATUS_OUT_OF_MEMORY ? PICTURE_NO_MEMORY
                                                : PICTURE_DAMAGED;
}

static picture_outcome decode_first_frame(const WebPData *file, picture *out) {
    WebPAnimDecoderOptions options;
    uint8_t *pixels = NULL; /* the decoder's own */
    int time;
    if (!WebPAnimDecoderOptionsInit(&options))
        return cairn_picture_refuse(out, "a moving WebP of a later kind");
    options.color_mode = MODE_RGBA;
    WebPAnimDecoder *decoder = WebPAnimDecoderNew(file, &options);
    if (decoder && WebPAnimDecoderGetNext(decoder, &pixels, &time))
        lay_over_white(pixels, out);
    WebPAnimDecoderDelete(decoder);
    return pixels ? PICTURE_DECODED : PICTURE_DAMAGED;
}

picture_outcome cairn_webp_decode(const uint8_t *bytes, size_t size, picture *out) {
    const WebPData file = {bytes, size};
    WebPBitstreamFeatures features;
    memset(&features, 0, sizeof features);
    if (WebPGetFeatures(bytes, size, &features) != VP8_STATUS_OK)
        return PICTURE_DAMAGED;
    picture_outcome outcome =
        cairn_picture_allocate(out, (uint64_t)features.width, (uint64_t)features.height);
    if (outcome)
        return outcome;
    return features.has_animation ? decode_first_frame(&file, out) : decode_still(&file, out);
}

#else

picture_outcome cairn_webp_decode(const uint8_t *bytes, size_t size, picture *out) {
    (void)bytes;
    (void)size;
    return cairn_picture_refuse(out, "a WebP, and this cairn was built without libwebp");
}

#endif
