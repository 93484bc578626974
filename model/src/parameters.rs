//! Every weight of a model by its Hugging Face name.

use crate::ModelConfig;

/// Name and shape of every tensor in a checkpoint of this model, in Hugging Face's names: vision tower, connector,
/// decoder, head. A tied head has no tensor of its own.
///
/// Linear weights are `[out, in]`, the patch embedding is `[hidden, channels, patch, patch]`.
pub fn parameter_shapes(config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
    let (text, vision) = (&config.text, &config.vision);
    let mut shapes = Shapes(Vec::new());

    let prefix = "model.vision_model";
    let patch = vision.patch_size;
    shapes.add(format!("{prefix}.embeddings.patch_embedding.weight"), &[vision.hidden_size, vision.num_channels, patch, patch]);
    shapes.add(format!("{prefix}.embeddings.patch_embedding.bias"), &[vision.hidden_size]);
    shapes.add(format!("{prefix}.embeddings.position_embedding.weight"), &[vision.patches_per_side().pow(2), vision.hidden_size]);
    for layer in 0..vision.num_hidden_layers {
        shapes.add_vision_layer(&format!("{prefix}.encoder.layers.{layer}"), config);
    }
    shapes.add_with_bias(format!("{prefix}.post_layernorm"), &[vision.hidden_size]);

    shapes.add("model.connector.modality_projection.proj.weight".into(), &[text.hidden_size, config.connector_in_features()]);

    let prefix = "model.text_model";
    let table = [text.vocab_size, text.hidden_size];
    shapes.add(format!("{prefix}.embed_tokens.weight"), &table);
    for layer in 0..text.num_hidden_layers {
        shapes.add_text_layer(&format!("{prefix}.layers.{layer}"), config);
    }
    shapes.add(format!("{prefix}.norm.weight"), &[text.hidden_size]);
    if !config.tie_word_embeddings {
        shapes.add("lm_head.weight".into(), &table);
    }
    shapes.0
}

/// Number of weights of this model; a tied table counts once.
pub fn parameter_count(config: &ModelConfig) -> usize {
    parameter_shapes(config).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
}

struct Shapes(Vec<(String, Vec<usize>)>);

impl Shapes {
    fn add(&mut self, name: String, shape: &[usize]) {
        self.0.push((name, shape.to_vec()));
    }

    /// A weight and a bias as long as the weight's first axis.
    fn add_with_bias(&mut self, module: String, weight: &[usize]) {
        self.add(format!("{module}.weight"), weight);
        self.add(format!("{module}.bias"), &weight[..1]);
    }

    fn add_vision_layer(&mut self, prefix: &str, config: &ModelConfig) {
        let (hidden, inner) = (config.vision.hidden_size, config.vision.intermediate_size);
        self.add_with_bias(format!("{prefix}.layer_norm1"), &[hidden]);
        for projection in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            self.add_with_bias(format!("{prefix}.self_attn.{projection}"), &[hidden, hidden]);
        }
        self.add_with_bias(format!("{prefix}.layer_norm2"), &[hidden]);
        self.add_with_bias(format!("{prefix}.mlp.fc1"), &[inner, hidden]);
        self.add_with_bias(format!("{prefix}.mlp.fc2"), &[hidden, inner]);
    }

    fn add_text_layer(&mut self, prefix: &str, config: &ModelConfig) {
        let text = &config.text;
        let (hidden, inner) = (text.hidden_size, text.intermediate_size);
        let queries = text.num_attention_heads * text.head_dim;
        let keys = text.num_key_value_heads * text.head_dim;
        self.add(format!("{prefix}.input_layernorm.weight"), &[hidden]);
        self.add(format!("{prefix}.self_attn.q_proj.weight"), &[queries, hidden]);
        self.add(format!("{prefix}.self_attn.k_proj.weight"), &[keys, hidden]);
        self.add(format!("{prefix}.self_attn.v_proj.weight"), &[keys, hidden]);
        self.add(format!("{prefix}.self_attn.o_proj.weight"), &[hidden, queries]);
        self.add(format!("{prefix}.post_attention_layernorm.weight"), &[hidden]);
        self.add(format!("{prefix}.mlp.gate_proj.weight"), &[inner, hidden]);
        self.add(format!("{prefix}.mlp.up_proj.weight"), &[inner, hidden]);
        self.add(format!("{prefix}.mlp.down_proj.weight"), &[hidden, inner]);
    }
}
