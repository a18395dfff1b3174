"""Tiny language models with random weights, saved the way real ones are."""

from pathlib import Path

TEXT = """optimizer adamw muon lion learning rate 0.0003 0.001 model width 512 layers 12 parameters 130M training
tokens batch size 128 warmup steps weight decay 0.1 a long text about schedules , . :"""
WORDS = TEXT.split()


def _tokenizer(specials: list[str], with_ends: bool, **options):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocab = {word: index for index, word in enumerate(specials + WORDS)}
    inner = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if with_ends:
        ends = [(token, vocab[token]) for token in ("[CLS]", "[SEP]")]
        inner.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]", **options), len(vocab)


def save_bert(folder: Path) -> Path:
    """Encoder with [CLS] and [SEP], 64 positions."""
    import torch
    from transformers import BertConfig, BertModel

    tokenizer, size = _tokenizer(
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]"],
        True,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
        model = BertModel(BertConfig(vocab_size=size, max_position_embeddings=64, **shape))
    return _save(folder, model, tokenizer)


def save_gpt2(folder: Path) -> Path:
    """Decoder with absolute positions, no pad token, and a tokenizer that prefers padding on the left."""
    import torch
    from transformers import GPT2Config, GPT2Model

    tokenizer, size = _tokenizer(["[UNK]"], False, padding_side="left")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = GPT2Model(GPT2Config(vocab_size=size, n_positions=48, n_embd=24, n_layer=2, n_head=3))
    return _save(folder, model, tokenizer)


def save_llama(folder: Path) -> Path:
    """Decoder with rotary positions, saved with its language-model head."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer, size = _tokenizer(["[UNK]"], False)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        shape = {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
        }
        config = LlamaConfig(vocab_size=size, intermediate_size=48, max_position_embeddings=128, **shape)
        model = LlamaForCausalLM(config)
    return _save(folder, model, tokenizer)


def save_byt5(folder: Path) -> Path:
    """Encoder-decoder whose tokenizer is written in Python and reads bytes."""
    import torch
    from transformers import ByT5Tokenizer, T5Config, T5Model

    tokenizer = ByT5Tokenizer(model_max_length=40)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = T5Model(
            T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=4)
        )
    return _save(folder, model, tokenizer)


def _save(folder: Path, model, tokenizer) -> Path:
    folder.mkdir(parents=True)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
