//! A family that exists in tests alone, and has what the first one has not: pictures of any size without tiles, vision attention in windows, merged
//! patches, and three rows of positions (time, height and width), as in Qwen2-VL (Wang et al. 2024, arXiv 2409.12191).

use super::family::{Family, Network};
use super::mrope;
use crate::config::{Architecture, Bias, FamilySettings, ModelConfig, TextConfig, WeightDtype};
use crate::image::{Grid, ImageProcessor, Normalisation, Patches, RgbImage, Tiling};
use crate::layers::attention::{Attention, AttentionShape, Projections};
use crate::layers::decoder::Decoder;
use crate::layers::scope::Scope;
use crate::positions::PromptPositions;
use percept_engine::ops::Segments;
use serde_json::Map;

/// Pixels of a patch, patches of a visual token along one side, width of the tower.
const PATCH: usize = 2;
const MERGE: usize = 2;
const WIDTH: usize = 8;
const IMAGE_TOKEN_ID: u32 = 4;
/// Angles that turn by time, by height, by width.
const SECTIONS: [usize; 3] = [1, 2, 1];

const ARCHITECTURE: Architecture = Architecture { class_name: "ToyForConditionalGeneration", model_type: "toy" };

pub(super) static FAMILY: Family = Family {
    architectures: &[ARCHITECTURE],
    processor_class: "ToyProcessor",
    image_token: "<pad>",
    required_tokens: &["<pad>"],
    is_only_for_prompts: |token| token == "<pad>",
    vision: "visual",
    connector: "merger",
    decoder: "model",
    module_name: str::to_owned,
    position_rows: mrope::ROWS,
    read_config: |_, _| unreachable!("in no directory"),
    write_config: |_, _| unreachable!("in no directory"),
    validate: |_, _| Ok(()),
    image_settings: |_, _| Ok(Map::new()),
    image_processor: |_, _| Ok(ImageProcessor::new(process)),
    image_seq_len: |_| None,
    visual_grid: |_, [rows, cols]| [rows / MERGE, cols / MERGE],
    expand_prompt: |_, text, _| Ok(text.to_string()),
    positions,
    rope: |config, device, positions| mrope::rope(config, SECTIONS, device, positions),
    build,
};

fn config() -> ModelConfig {
    let text = TextConfig {
        vocab_size: 40,
        hidden_size: 16,
        intermediate_size: 24,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 2 * SECTIONS.iter().sum::<usize>(),
        qkv_bias: Bias::Yes,
        rope_theta: 100.0,
        rms_norm_eps: 1e-6,
        max_position_embeddings: 256,
        initializer_range: 0.4,
        bos_token_id: None,
        eos_token_ids: vec![],
        pad_token_id: None,
    };
    ModelConfig {
        architecture: ARCHITECTURE,
        text,
        settings: FamilySettings::new(()),
        image_token_id: IMAGE_TOKEN_ID,
        tie_word_embeddings: true,
        dtype: WeightDtype::F32,
        loaded: Map::new(),
    }
}

fn process(image: &RgbImage) -> Patches {
    Normalisation::new(|_, byte| f32::from(byte) / 255.0).patches(Tiling::WHOLE, std::slice::from_ref(image), PATCH)
}

fn build(config: &ModelConfig, scope: &Scope) -> Network {
    let scope = scope.drawn_with(config.text.initializer_range);
    let visual = scope.at(FAMILY.vision);
    let embed = visual.linear("patch_embed", &[WIDTH, 3 * PATCH * PATCH], Bias::No);
    let shape = AttentionShape {
        hidden: WIDTH,
        heads: 2,
        kv_heads: 2,
        head_dim: 4,
        projections: Projections::Apart,
        bias: Bias::Yes,
        out: ("proj", Bias::Yes),
    };
    let attention = Attention::new(&shape, &visual.at("attn"));
    let merger = scope.linear("merger", &[config.text.hidden_size, MERGE * MERGE * WIDTH], Bias::Yes);
    let decoder = Decoder::new(config, &scope.at(FAMILY.decoder), (&scope, "lm_head"));
    Network {
        vision_tower: Box::new(move |pictures, _| {
            let x = embed.forward(pictures.patches());
            // a window is a row of patches: nothing but other segments
            let windows: Vec<usize> = pictures.grids().iter().flat_map(|&[rows, cols]| std::iter::repeat_n(cols, rows)).collect();
            x.add(&attention.forward(&x, None, &Segments::bidirectional(&windows)))
        }),
        connector: Box::new(move |patches, pictures| {
            merger.forward(&pictures.by_grid(patches, |run, patches| {
                let [rows, cols] = run.grid;
                let merged = patches.reshape(&[run.pictures, rows * cols, WIDTH]).pixel_shuffle(run.grid, MERGE);
                merged.reshape(&[merged.dim(0) * merged.dim(1), merged.dim(2)])
            }))
        }),
        decoder,
    }
}

fn positions(config: &ModelConfig, tokens: &[u32], pictures: &[Patches]) -> PromptPositions {
    mrope::positions(config.image_token_id, tokens, mrope::visual_grids(pictures, MERGE))
}

mod tests {
    use super::{IMAGE_TOKEN_ID, config, positions};
    use crate::families::parameter_shapes;
    use crate::generate::{GenerationOptions, GenerationRequest, generate};
    use crate::image::{Patches, RgbImage, Tiling};
    use crate::model::Model;
    use crate::packing::Packing;
    use crate::packing::batch::ResponseRows;
    use percept_engine::ops::Sampling;
    use percept_engine::{DType, Device};

    /// Of `rows` × `cols` patches.
    fn picture(seed: u32, [rows, cols]: super::Grid) -> Patches {
        let image = RgbImage::from_fn(2 * cols as u32, 2 * rows as u32, |x, y| {
            ::image::Rgb([x * 31 + seed, y * 17 + x * x, (x + 1) * (y + 3) * (seed + 1)].map(|v| (v % 256) as u8))
        });
        super::process(&image)
    }

    /// Text, then two pictures of 1 × 3 and 2 × 1 visual tokens with text between and behind them.
    fn prompt(seed: u32) -> (Vec<u32>, [Patches; 2]) {
        let image = |count: usize| vec![IMAGE_TOKEN_ID; count];
        ([vec![7, 8], image(3), vec![9], image(2), vec![10, 11]].concat(), [picture(seed, [2, 6]), picture(seed + 1, [4, 2])])
    }

    #[test]
    fn pictures_spread_over_heights_and_widths() {
        let tokens = [vec![7; 5], vec![IMAGE_TOKEN_ID; 6], vec![7; 3]].concat();
        let placed = positions(&config(), &tokens, &[picture(0, [4, 6])]);
        let expected: [&[u32]; 3] = [
            &[0, 1, 2, 3, 4, 5, 5, 5, 5, 5, 5, 8, 9, 10],
            &[0, 1, 2, 3, 4, 5, 5, 5, 6, 6, 6, 8, 9, 10],
            &[0, 1, 2, 3, 4, 5, 6, 7, 5, 6, 7, 8, 9, 10],
        ];
        assert_eq!(placed.positions.rows(), expected);
        assert_eq!(placed.next, 11);
    }

    #[test]
    fn layers_declare_their_weights_in_order() {
        let names: Vec<String> = parameter_shapes(&config()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names[..3], ["visual.patch_embed.weight", "visual.attn.q_proj.weight", "visual.attn.q_proj.bias"]);
        assert_eq!(names[9..12], ["merger.weight", "merger.bias", "model.embed_tokens.weight"]);
        assert_eq!(names.len(), 12 + 2 * 12 + 1);
        assert_eq!(names.last().unwrap(), "model.norm.weight");
    }

    #[test]
    fn a_response_goes_on_behind_pictures_in_training_and_in_decoding() {
        let model = Model::random(&config(), &Device::cpu(), 3, DType::F64);
        let prompts = [prompt(1), prompt(20)];
        let requests = prompts.each_ref().map(|(prompt, pictures)| GenerationRequest { prompt, pictures, streams: 0..2 });
        let options = GenerationOptions {
            max_new_tokens: 6,
            sampling: Sampling::plain(1),
            stop_tokens: vec![],
            check_every: None,
            kv_cache: DType::F32,
        };
        let drawn = generate(&model, &requests, &options).unwrap();

        let (mut shared, mut alone) = (Packing::new(model.config()), Packing::new(model.config()));
        let (mut shared_rows, mut alone_rows, mut expected) = (Vec::new(), Vec::new(), Vec::<f32>::new());
        for ((prompt, pictures), completions) in prompts.iter().zip(&drawn) {
            let packed = shared.prompt(prompt, pictures).unwrap();
            for completion in completions {
                shared_rows.push(shared.response(&packed, &completion.tokens).unwrap());
                alone_rows.push(alone.row(prompt, pictures, &completion.tokens).unwrap());
                expected.extend(&completion.log_probs);
            }
        }
        for (packing, rows) in [(shared, shared_rows), (alone, alone_rows)] {
            let hidden = model.hidden(&packing.into_batch(&model));
            let log_probs = model.log_probs(&hidden, &ResponseRows::concat(&rows), 1.0).0.to_f64_vec().unwrap();
            assert_eq!(log_probs.len(), expected.len());
            let error = log_probs.iter().zip(&expected).map(|(a, &b)| (a - f64::from(b)).abs()).fold(0.0, f64::max);
            assert!(error < 1e-5, "{error}");
        }
    }

    #[test]
    fn what_a_picture_shows_and_its_form_make_a_difference() {
        let model = Model::random(&config(), &Device::cpu(), 3, DType::F64);
        let hidden = |picture: Patches| {
            let mut packing = Packing::new(model.config());
            packing.prompt(&[vec![IMAGE_TOKEN_ID; 4], vec![7]].concat(), &[picture]).unwrap();
            model.hidden(&packing.into_batch(&model)).to_f64_vec().unwrap()
        };
        let black =
            |[height, width]: [usize; 2]| Patches::from_pixels(Tiling::WHOLE, &vec![0.0; 3 * height * width], [3, height, width], 2);
        assert_ne!(hidden(picture(1, [4, 4])), hidden(picture(2, [4, 4])));
        assert_ne!(hidden(black([4, 16])), hidden(black([8, 8])), "the same patches at other places");
    }
}
