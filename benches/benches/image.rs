//! Image processing, in input pixels per second: decode, resize, and the whole processor.

use std::hint::black_box;
use std::io::Cursor;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use percept_model::families::idefics3::{ImageProcessorConfig, Processor};
use percept_model::image::{DecodeOptions, Filter, RgbImage, decode, resize};

criterion_group!(benches, bench_decode, bench_resize, bench_process);
criterion_main!(benches);

fn bench_decode(criterion: &mut Criterion) {
    let image = picture(640, 480);
    for (name, format) in [("png", ::image::ImageFormat::Png), ("jpeg", ::image::ImageFormat::Jpeg)] {
        let bytes = encode(&image, format);
        let mut group = group(criterion, "image/decode", &image);
        group.bench_function(format!("{name} 640x480"), |bencher| {
            bencher.iter(|| decode(black_box(&bytes), "bench", DecodeOptions::default()).unwrap());
        });
    }
}

fn bench_resize(criterion: &mut Criterion) {
    for ((width, height), (to_width, to_height)) in [((640, 480), (2048, 1536)), ((1920, 1080), (512, 512)), ((1920, 1080), (64, 64))] {
        let image = picture(width, height);
        let mut group = group(criterion, "image/resize", &image);
        for filter in [Filter::Lanczos, Filter::Bicubic, Filter::Bilinear] {
            let name = format!("{filter:?} {width}x{height} to {to_width}x{to_height}");
            group.bench_function(name, |bencher| {
                bencher.iter(|| resize(black_box(&image), to_width, to_height, filter));
            });
        }
    }
}

fn bench_process(criterion: &mut Criterion) {
    for (width, height) in [(640, 480), (1920, 1080)] {
        let image = picture(width, height);
        let mut group = group(criterion, "image/process", &image);
        for (name, longest_edge, tile_edge, patch, split) in
            [("smolvlm, split", 2048, 512, 16, true), ("smolvlm, not split", 2048, 512, 16, false), ("tiny", 64, 64, 8, false)]
        {
            let mut config = ImageProcessorConfig::new(longest_edge, tile_edge);
            config.do_image_splitting = split;
            let processor = Processor::new(config).unwrap();
            group.bench_function(format!("{name} {width}x{height}"), |bencher| {
                bencher.iter(|| processor.process(black_box(&image), patch));
            });
        }
    }
}

fn group<'a>(criterion: &'a mut Criterion, name: &str, image: &RgbImage) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements((image.width() * image.height()) as u64));
    group.sample_size(20);
    group
}

/// Gradients with a texture on them, so that PNG and JPEG have something to do.
fn picture(width: usize, height: usize) -> RgbImage {
    let pixel = |at: usize| {
        let (x, y) = (at % width, at / width);
        [x * 255 / width, y * 255 / height, (x * y) >> 6].map(|value| value as u8)
    };
    RgbImage::from_raw(width as u32, height as u32, (0..width * height).flat_map(pixel).collect()).expect("three bytes a pixel")
}

fn encode(image: &RgbImage, format: ::image::ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.write_to(&mut Cursor::new(&mut bytes), format).unwrap();
    bytes
}
