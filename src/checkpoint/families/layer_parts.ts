/**
 * Parts of a layer that are none of its feed-forward part: the first segment of their tensors' names inside the layer.
 * What stands in no line here is taken for the feed-forward part's, so that none of its tensors is passed over.
 */
const otherParts: ReadonlySet<string> = new Set([
  // Attention and what stands in its place.
  ...['self_attn', 'self_attention', 'attn', 'attention', 'linear_attn', 'mamba', 'conv'],
  // What is added to residuals, and how they are mixed.
  ...['attn_hyper_connection', 'mlp_hyper_connection', 'hc_attn_layer', 'hc_mlp_layer'],
  ...['attn_sconv', 'mlp_sconv'],
  // Norms around the parts: the caller's, as residuals are.
  ...['input_layernorm', 'post_attention_layernorm', 'post_self_attn_layernorm'],
  ...['pre_mlp_layernorm', 'post_mlp_layernorm'],
  ...['pre_feedforward_layernorm', 'post_feedforward_layernorm'],
  ...['attention_norm', 'attn_norm', 'ffn_norm', 'mlp_norm', 'layernorm1', 'layernorm2'],
  // What a layer that predicts further tokens has around it.
  ...['embed_tokens', 'enorm', 'hnorm', 'eh_proj', 'shared_head'],
]);

/** Whether a tensor, by its name inside the layer, may belong to the layer's feed-forward part. */
export function mayBeFeedForward(name: string): boolean {
  const part = name.split('.', 1)[0] as string;
  return !otherParts.has(part) && !/^hc_(attn|ffn)_/.test(part);
}
