"What cannot be loaded is one line that says why; nothing is built, run or advised that could harm."

import json
import os
import re
import shutil
import struct

import pytest
import torch
from lensllm._internal.tiny import tiny_model
from lensllm.models.loading import character_tokenizer, load_model, load_pair
from safetensors.torch import load_file, save_file

ADVICE = re.compile(r"trust_remote_code|--trust|torch\.load|weights_only|use_safetensors")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound") / "gpt2"
    tiny_model("gpt2", seed=0).save_pretrained(folder)
    character_tokenizer("abc d").save_pretrained(folder)
    return folder


@pytest.fixture
def folder(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "model")


def set_config(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not Ellipsis}))


def change_weights(folder, change):
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata=dict(format="pt"))


def refused(folder):
    "The one line that a model is refused with."
    with pytest.raises(ValueError) as error:
        load_model(folder, device="cpu")
    message = str(error.value)
    assert message.startswith("`MODEL` must ")
    assert "\n" not in message and len(message) < 700
    assert not ADVICE.search(message)
    return message


NESTED = "[" * 100_000


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(quantization_config=dict(quant_method="gptq", bits=4)), "quantized (gptq)"),
        (dict(quantization_config=dict(quant_method="awq", bits=4)), "quantized (awq)"),
        (dict(quantization_config=dict(quant_method="fp8")), "quantized (fp8)"),
        (dict(quantization_config=dict(load_in_4bit=True)), "quantized (in fewer bits)"),
        (dict(quantization_config="gptq"), "quantized"),
        (dict(text_config=dict(quantization_config=dict(quant_method="hqq"))), "(hqq)"),
        (dict(attn_implementation="flash_attention_2"), "flash attention"),
        (dict(n_layer=1_000_000_000), "1e+09 layers (n_layer)"),
        (dict(num_hidden_layers=10**18), "layers (num_hidden_layers)"),
        (dict(n_layer=1e300), "layers (n_layer)"),
        (dict(num_labels=10**9), "labels (num_labels)"),
        (dict(vocab_size=10**10), "describes"),
        (dict(n_embd=10**9, n_head=1), "got"),
        (dict(n_embd=10**15), "of anything (n_embd)"),
        (dict(n_positions=10**9), "describes"),
        (dict(n_layer="many"), "got"),
        (dict(n_layer=None), "got"),
        (dict(n_layer=-1), "layers (n_layer)"),
        (dict(n_layer=0), "layers (n_layer)"),
        (dict(n_layer=1), "as many layers as its files"),
        (dict(n_layer=2.5), "got"),
        (dict(n_layer=[2]), "got"),
        (dict(n_head=0), "got"),
        (dict(n_head=3), "got"),
        (dict(n_embd=-8), "got"),
        (dict(vocab_size="nine"), "got"),
        (dict(vocab_size=3), "asks for"),
        (dict(activation_function="nothing"), "got"),
        (dict(dtype="banana"), "got"),
        (dict(model_type=Ellipsis), "got"),
        (dict(model_type="nothing"), "got"),
        (dict(model_type=7), "got"),
        (dict(model_type=["gpt2"]), "got"),
        (dict(model_type="bert", architectures=["BertForMaskedLM"]), "does not write texts"),
        (dict(model_type="clip", architectures=["CLIPModel"]), "does not write texts"),
        (dict(architectures="GPT2LMHeadModel"), "list names of classes"),
        (dict(architectures=[1]), "list names of classes"),
        (dict(auto_map=dict(AutoConfig="own.Config"), model_type="own"), "not run"),
        (dict(layer_norm_epsilon="small"), "got"),
    ],
)
def test_a_config_that_asks_for_what_is_not_there(folder, changes, message):
    set_config(folder, **changes)
    assert message in refused(folder)


@pytest.mark.parametrize("text", ["", "[]", '"gpt2"', "null", "{", "NaN", NESTED, "\x00", "{}"])
def test_a_config_that_is_no_object(folder, text):
    (folder / "config.json").write_text(text)
    refused(folder)


def no_header(path):
    path.write_bytes(struct.pack("<Q", 10**15) + b"{}")


def header_of(text):
    def write(path):
        path.write_bytes(struct.pack("<Q", len(text)) + text.encode())

    return write


def truncate(size):
    return lambda path: os.truncate(path, size)


def garbage(path):
    path.write_bytes(os.urandom(5000))


def in_the_middle(path):
    os.truncate(path, path.stat().st_size - 100)


def a_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "damage",
    [
        truncate(0),
        truncate(7),
        truncate(2000),
        in_the_middle,
        garbage,
        no_header,
        header_of("[]"),
        header_of("{"),
        header_of('{"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}'),
        header_of('{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}'),
        header_of('{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4000000000]}}'),
        header_of("{}"),
        a_folder,
    ],
)
def test_a_damaged_file_of_weights(folder, damage):
    damage(folder / "model.safetensors")
    refused(folder)


def halved_norm(weights):
    return weights | {"transformer.ln_f.weight": weights["transformer.ln_f.weight"][:3].clone()}


def nothing(weights):
    return {}


def other_names(weights):
    return {f"x.{key}": value for key, value in weights.items()}


def not_a_number(weights):
    weights["transformer.ln_f.weight"][0] = float("nan")
    return weights


def packed(weights):
    key = "transformer.h.0.mlp.c_fc.weight"
    return weights | {key.replace("weight", "qweight"): torch.zeros(2, 2, dtype=torch.int32)}


def eight_bits(weights):
    return {key: value.to(torch.float8_e4m3fn) for key, value in weights.items()}


def whole_numbers(weights):
    return {key: value.to(torch.int8) for key, value in weights.items()}


@pytest.mark.parametrize(
    "change, message",
    [
        (halved_norm, "transformer.ln_f.weight of shape [3]"),
        (other_names, "must hold all its weights"),
        (not_a_number, "NaN or infinity in transformer.ln_f.weight"),
        (packed, "is quantized"),
        (eight_bits, "is quantized"),
        (whole_numbers, "is quantized"),
        (nothing, "holds 0 tensors"),
    ],
)
def test_weights_that_do_not_fit(folder, change, message):
    change_weights(folder, change)
    assert message in refused(folder)


@pytest.mark.parametrize(
    "name, words",
    [
        ("pytorch_model.bin", "a pickle, which can run code"),
        ("model.pt", "a pickle"),
        ("model.gguf", "has only model.gguf"),
        ("tf_model.h5", "has only tf_model.h5"),
        ("nothing.txt", "has none"),
    ],
)
def test_weights_in_another_format(folder, name, words):
    (folder / "model.safetensors").rename(folder / name)
    assert words in refused(folder)


@pytest.mark.parametrize(
    "index",
    [
        "[]",
        "{}",
        "{",
        '{"weight_map": []}',
        '{"weight_map": {"a": 1}}',
        '{"weight_map": {"a": "gone.safetensors"}}',
        '{"weight_map": {"a": "../../outside.safetensors"}}',
    ],
)
def test_an_index_of_files_that_are_not_there(folder, index):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(index)
    refused(folder)


def without_tokenizer(folder):
    for file in folder.glob("*token*"):
        file.unlink()


def tokenizer_of(text):
    return lambda folder: (folder / "tokenizer.json").write_text(text)


def of_a_larger_model(folder):
    alphabet = "".join(map(chr, range(0x4E00, 0x4E00 + 500)))
    character_tokenizer(alphabet).save_pretrained(folder)


def panicking(folder):
    "A vocabulary whose ids have a hole, in a byte-level tokenizer without its alphabet."
    core = json.loads((folder / "tokenizer.json").read_text())
    core["model"] = dict(type="Unigram", unk_id=5, vocab=[["a", -1.0]])
    (folder / "tokenizer.json").write_text(json.dumps(core))


@pytest.mark.parametrize(
    "damage",
    [
        without_tokenizer,
        tokenizer_of(""),
        tokenizer_of("{}"),
        tokenizer_of("[]"),
        tokenizer_of('{"model": {"type": "Nothing"}}'),
        of_a_larger_model,
        panicking,
    ],
)
def test_a_tokenizer_that_cannot_be_read(folder, damage, capfd):
    damage(folder)
    refused(folder)
    assert capfd.readouterr().err == ""


def test_no_table_of_missing_weights_on_standard_error(folder, capfd):
    change_weights(folder, lambda w: {k: v for k, v in w.items() if ".h.1." not in k})
    assert "must hold all its weights" in refused(folder)
    assert capfd.readouterr().err == ""


def test_code_of_its_own_is_not_run(folder, tmp_path):
    mark = tmp_path / "it_ran"
    (folder / "own.py").write_text(f"open({str(mark)!r}, 'w')\n")
    set_config(folder, auto_map=dict(AutoConfig="own.C", AutoModelForCausalLM="own.M"))
    load_model(folder, device="cpu")  # a model type of its own library needs no code
    set_config(folder, model_type="own")
    assert "code of its own, which is not run" in refused(folder)
    assert not mark.exists()


@pytest.mark.parametrize("text", ["", "[]", "{", NESTED])
def test_adapters_whose_config_is_no_object(sound, tmp_path, text):
    (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises(ValueError, match="`END` must hold a adapter_config.json|`END` must"):
        load_pair(sound, tmp_path, device="cpu")


def test_damaged_adapters(sound, tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(ValueError, match="`END` must hold whole files"):
        load_pair(sound, tmp_path, device="cpu")


def test_a_sound_model_is_loaded(sound):
    model, tokenizer = load_model(sound, device="cpu")
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert len(tokenizer)
