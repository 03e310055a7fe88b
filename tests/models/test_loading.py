"Candidates: what is shipped, what comes back, pairs before and after fine-tuning, what is refused."

import json, os, re, shutil
import peft, pytest, torch, transformers
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from lensllm._internal.tiny import tiny_batch, tiny_model
from lensllm.models.loading import (
    ZOO,
    character_tokenizer,
    count_params,
    load_model,
    load_pair,
    load_zoo,
    most_tokens,
    pick_device,
    token_work,
    zoo_names,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")
ALPHABET = "abc d"


def save(folder, model, alphabet=ALPHABET):
    "A folder as transformers writes it, with a tokenizer."
    model.save_pretrained(folder)
    character_tokenizer(alphabet).save_pretrained(folder)
    return folder


def lora(**options):
    defaults = dict(r=1, target_modules=["c_attn"], fan_in_fan_out=True, task_type="CAUSAL_LM")
    return peft.LoraConfig(**defaults, **options)


def adapted_gpt2(**options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return peft.get_peft_model(tiny_model("gpt2", seed=0), lora(**options)).eval()


@pytest.fixture(scope="module")
def rows():
    return tiny_batch(n=2, tokens=5, seed=0)


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    return save(tmp_path_factory.mktemp("models") / "gpt2", tiny_model("gpt2", seed=0))


@pytest.fixture
def adapter(tmp_path):
    adapted_gpt2(init_lora_weights=False).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


# --- what is shipped


def test_the_zoo_is_varied_and_small():
    zoo = load_zoo()
    assert len(zoo) >= 12
    assert zoo.architecture.nunique() >= 6
    assert zoo.tokenizer.nunique() >= 3
    assert zoo.n_params.between(1e5, 1.5e6).all()
    assert sum(f.stat().st_size for f in ZOO.rglob("*") if f.is_file()) < 25e6


def test_the_zoo_holds_no_pickle():
    assert not list(ZOO.rglob("*.bin"))


@pytest.mark.parametrize("name", zoo_names())
def test_a_shipped_candidate_is_what_it_says(name):
    model, tokenizer = load_model(name, device="cpu")
    total, encoder = count_params(model)
    assert total == load_zoo().set_index("name").n_params[name]
    # A token that is read and one that is written pass through all parameters.
    assert token_work(total, encoder, 1, 1) == total
    text = "Größe: 5 €, naïve\n"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text


def test_a_model_says_how_much_it_can_read():
    assert most_tokens(tiny_model("gpt2", seed=0)) == 64
    assert most_tokens(tiny_model("t5", seed=0)) == 1 << 30


# --- what comes back


@pytest.mark.parametrize("arch", ["gpt2", "t5"])
def test_a_saved_model_comes_back(tmp_path, rows, arch):
    "Weights to the last bit. Outputs not: how many threads share a sum is decided at run time."
    model = tiny_model(arch, seed=0)
    again, tokenizer = load_model(save(tmp_path / arch, model), device="cpu")
    assert all(torch.equal(p, q) for p, q in zip(again.parameters(), model.parameters()))
    assert_close(again(**rows).logits, model(**rows).logits)
    assert tokenizer.decode(tokenizer("a bcd")["input_ids"]) == "a bcd"


def test_a_character_tokenizer_reads_unknown_characters():
    assert character_tokenizer(ALPHABET)("a b?")["input_ids"] == [4, 7, 5, 3]


def test_the_sign_for_home_is_understood(gpt2, monkeypatch):
    monkeypatch.setenv("HOME", str(gpt2.parent))
    model, _ = load_model("~/gpt2", device="cpu")
    assert type(model).__name__ == "GPT2LMHeadModel"


# --- pairs


def test_a_pair_is_in_single_precision(gpt2, tmp_path):
    half = save(tmp_path / "after", tiny_model("gpt2", seed=1).to(torch.bfloat16))
    before, after, _ = load_pair(gpt2, half, device="cpu")
    assert (before.dtype, after.dtype) == (torch.float32, torch.float32)


def test_adapters_start_at_zero(gpt2, adapter, rows):
    before, after, _ = load_pair(gpt2, adapter, device="cpu")
    base, end = tiny_model("gpt2", seed=0), adapted_gpt2(init_lora_weights=False)
    for (name, p), (_, q), (_, r) in zip(
        before.named_parameters(), after.named_parameters(), end.named_parameters()
    ):
        assert torch.equal(q, r)
        assert torch.equal(p, torch.zeros_like(p) if "lora_" in name else r)
    assert_close(before(**rows).logits, base(**rows).logits)
    assert_close(after(**rows).logits, end(**rows).logits)
    assert (before(**rows).logits - after(**rows).logits).abs().max() > 0.01


def test_another_tokenizer_is_refused(gpt2, tmp_path):
    foreign = save(tmp_path / "foreign", tiny_model("gpt2", seed=0), "xyz")
    with pytest.raises(ValueError, match="must have START's tokenizer"):
        load_pair(gpt2, foreign, device="cpu")


def test_adapters_of_another_model_are_refused(tmp_path, adapter):
    t5 = save(tmp_path / "t5", tiny_model("t5", seed=0))
    with pytest.raises(ValueError, match="adapters that fit START"):
        load_pair(t5, adapter, device="cpu")


def test_adapters_with_other_weights_are_refused(gpt2, tmp_path):
    adapted_gpt2(modules_to_save=["wpe"]).save_pretrained(tmp_path / "more")
    with pytest.raises(ValueError, match="LoRA's matrices and nothing else"):
        load_pair(gpt2, tmp_path / "more", device="cpu")


def test_adapters_that_change_the_start_are_refused(gpt2, adapter):
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | dict(init_lora_weights="pissa")))
    with pytest.raises(ValueError, match="init_lora_weights='pissa', which changes them"):
        load_pair(gpt2, adapter, device="cpu")


def test_adapters_that_are_no_safetensors_are_refused(gpt2, adapter):
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(ValueError, match="must hold its adapters in safetensors"):
        load_pair(gpt2, adapter, device="cpu")


def test_the_argument_is_named(gpt2):
    with pytest.raises(ValueError, match="`START` must be"):
        load_pair(gpt2.parent / "nowhere", gpt2, device="cpu")


# --- what is refused


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="`device` must be one that torch has here, got 'tpu9'"):
        pick_device("tpu9")


@pytest.mark.parametrize(
    "name, message", [("nowhere", "is no folder"), ("nowhere/", "is no folder")]
)
def test_a_missing_folder_is_refused(tmp_path, name, message):
    with pytest.raises(ValueError, match=message):
        load_model(f"{tmp_path}/{name}")


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        load_model(tmp_path)


def test_an_adapter_is_no_model(adapter):
    with pytest.raises(ValueError, match="which holds adapters"):
        load_model(adapter)


def test_a_torn_file_is_refused(tmp_path):
    torn = save(tmp_path / "torn", tiny_model("gpt2", seed=0))
    os.truncate(torn / "model.safetensors", 2000)
    with pytest.raises(ValueError, match="got .*torn"):
        load_model(torn)


def test_an_encoder_is_refused(tmp_path):
    config = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9
    )
    transformers.BertForMaskedLM(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="does not write texts"):
        load_model(tmp_path)


def test_almost_a_name_is_answered_with_the_name():
    with pytest.raises(ValueError, match=re.escape("did you mean gpt2-manuals?")):
        load_model("gpt2-manual")


@pytest.mark.parametrize("trust", [("all",), "code"])
def test_unknown_trust_is_refused(trust):
    with pytest.raises(ValueError, match="`trust` must hold code or pickle"):
        load_model("gpt2-manuals", trust=trust)


def test_a_pickle_is_read_only_where_it_is_trusted(tmp_path):
    model = tiny_model("gpt2", seed=0)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    model.config.save_pretrained(tmp_path)
    character_tokenizer(ALPHABET).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=re.escape("has only pytorch_model.bin, a pickle")):
        load_model(tmp_path)
    trusted, _ = load_model(tmp_path, device="cpu", trust=["pickle"])
    assert all(torch.equal(p, q) for p, q in zip(trusted.parameters(), model.parameters()))


def test_code_is_run_only_where_it_is_trusted(tmp_path):
    own = save(tmp_path / "own", tiny_model("gpt2", seed=0))
    (own / "own.py").write_text(
        "import transformers\n"
        "class Config(transformers.GPT2Config): model_type = 'own'\n"
        "class Own(transformers.GPT2LMHeadModel): config_class = Config\n"
    )
    changes = dict(
        model_type="own",
        architectures=["OwnLMHeadModel"],
        auto_map=dict(AutoConfig="own.Config", AutoModelForCausalLM="own.Own"),
    )
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(ValueError, match="without code of its own"):
        load_model(own, device="cpu")
    model, _ = load_model(own, device="cpu", trust=["code"])
    assert type(model).__name__ == "Own"


def without_second_layer(weights):
    return {k: v for k, v in weights.items() if not k.startswith("transformer.h.1.")}


def with_a_short_norm(weights):
    return weights | {"transformer.ln_f.weight": weights["transformer.ln_f.weight"][:3].clone()}


@pytest.mark.parametrize(
    "change, message",
    [
        (without_second_layer, "must hold all its weights"),
        (with_a_short_norm, "`MODEL` must be a folder or a name on the hub"),
    ],
)
def test_weights_that_do_not_fit_are_refused(gpt2, tmp_path, change, message):
    part = shutil.copytree(gpt2, tmp_path / "part")
    weights = change(load_file(part / "model.safetensors"))
    save_file(weights, part / "model.safetensors", metadata=dict(format="pt"))
    with pytest.raises(ValueError, match=message):
        load_model(part, device="cpu")
