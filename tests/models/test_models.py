import pytest
import torch
from torch import nn

from labkit import models
from labkit.models import inspection
from labkit.models.wide_resnet import WideResNet


def test_lenet_counts():
    network = models.build("lenet_300_100")
    assert sum(p.numel() for p in network.parameters()) == 266_610
    assert sum(dict(network.named_parameters())[name].numel() for name in models.prunable(network)) == 266_200
    assert inspection.output_layer(network) == "fc3.weight"
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("name", models.MODELS)
def test_the_classifier_of_the_kits_networks_is_the_layer_that_was_written_down_last(name):
    network = models.build(name)
    assert inspection.output_layer(network) == models.prunable(network)[-1], "or runs would have other names"


@pytest.mark.parametrize(
    ("name", "weights", "convolutions", "parameters"),
    [
        ("conv_2", 4_300_992, 38_592, 4_301_642),
        ("conv_4", 2_425_024, 259_776, 2_425_930),
        ("conv_6", 2_261_184, 1_144_512, 2_262_602),
        ("vgg19", 20_024_000, 20_018_880, 20_035_018),
        ("resnet20", 270_896, 270_256, 272_474),
        ("wrn_22_2", 1_076_912, 1_075_632, 1_079_642),
        ("resnet50", 23_467_712, 23_447_232, 23_520_842),
    ],
)
def test_convolutional_counts(name, weights, convolutions, parameters):
    network = models.build(name)
    found = {key: dict(network.named_parameters())[key] for key in models.prunable(network)}
    assert sum(w.numel() for w in found.values()) == weights
    assert sum(w.numel() for w in found.values() if w.ndim == 4) == convolutions
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert found[inspection.output_layer(network)].shape[0] == 10
    narrow = models.build(name, {"width": 0.125, "classes": 7})
    assert narrow(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    with pytest.raises(ValueError, match="width is 0"):
        models.build(name, {"width": 0})


def test_resnet50_of_cifar_100():
    network = models.build("resnet50", {"classes": 100})
    assert sum(p.numel() for p in network.parameters()) == 23_705_252
    assert sum(dict(network.named_parameters())[name].numel() for name in models.prunable(network)) == 23_652_032
    assert models.prunable(network)[0] == "stem.0.weight" and len(models.prunable(network)) == 54
    assert sum(layer.stride == (2, 2) for layer in network.modules() if isinstance(layer, nn.Conv2d)) == 6
    assert not [layer for layer in network.modules() if isinstance(layer, nn.MaxPool2d)]


def test_resnet50_with_the_stem_for_imagenet_is_torchvision_s():
    from torchvision.models import resnet50

    network, theirs = models.build("resnet50", {"stem": "imagenet"}).eval(), resnet50(num_classes=10).eval()
    assert sum(p.numel() for p in network.parameters()) == 23_528_522
    assert sum(dict(network.named_parameters())[name].numel() for name in models.prunable(network)) == 23_475_392
    mine, other = ([tuple(t.shape) for t in net.state_dict().values()] for net in (network, theirs))
    assert mine == other, "tensor by tensor"
    network.load_state_dict(dict(zip(network.state_dict(), theirs.state_dict().values(), strict=True)))
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(network(images), theirs(images), atol=1e-5)
    assert network.stem(images).shape == (2, 64, 8, 8) and models.build("resnet50").stem(images).shape[2:] == (32, 32)
    with pytest.raises(ValueError, match="unknown stem 'image': did you mean 'imagenet'.*There are: cifar, imagenet"):
        models.build("resnet50", {"stem": "image"})


def test_what_is_pruned_of_vgg19_is_convolutions_and_the_linear_layer():  # pitfall: pruned-norms
    network = models.build("vgg19")
    named = dict(network.named_parameters())
    sizes = {name: named[name].numel() for name in models.prunable(network)}
    norms = [name for name, layer in network.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 16 and not set(sizes) & {f"{name}.weight" for name in norms}
    assert sum(named[f"{name}.weight"].numel() for name in norms) == 5_504, "masked in the published replication"
    assert sizes.pop("classifier.weight") == 5_120 and sum(sizes.values()) == 20_018_880 and len(sizes) == 16
    assert not [name for name in named if name.startswith("features") and name.endswith("bias") and named[name].any()]


def test_zero_last_norms_make_blocks_start_as_their_shortcuts():
    block = models.build("resnet50", {"width": 0.0625, "zero_last_norm": True}).blocks[1]
    inputs = torch.rand(2, 16, 4, 4)  # not negative: the block's last ReLU lets it through
    assert torch.equal(block(inputs), inputs)
    plain = models.build("resnet50", {"width": 0.0625})
    assert all((layer.weight == 1).all() for layer in plain.modules() if isinstance(layer, nn.BatchNorm2d))


def test_wide_block_by_hand():
    first, second = models.build("wrn_22_2", {"width": 0.125}).eval().blocks[:2]
    inputs = torch.randn(2, 2, 6, 6)
    active = first.norm1(inputs).relu()
    expected = first.conv2(first.norm2(first.conv1(active)).relu()) + first.shortcut(active)
    assert torch.equal(first(inputs), expected), "a 1x1 shortcut sees the normalised input"
    assert second.shortcut is None
    with torch.no_grad():
        second.conv2.weight.zero_()
    assert torch.equal(second(expected), expected), "otherwise the input itself is passed on"
    assert len(models.prunable(models.build("wrn_22_2"))) == 23
    with pytest.raises(ValueError, match="depth is 21"):
        WideResNet(21, 2)


@pytest.mark.parametrize("name", ["wrn_22_2", "resnet50"])
def test_own_initialisation_is_fan_out_normal(name):
    network = models.build(name, {"width": 0.5}, seed=1)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.numel() > 10_000:
            fan_out = layer.weight.shape[0] * layer.weight[0, 0].numel()
            assert layer.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.04)
    assert not network.classifier.bias.any()
    again, other = (models.build(name, {"width": 0.5}, seed).state_dict() for seed in (1, 2))
    key = models.prunable(network)[0]
    assert torch.equal(again[key], network.state_dict()[key]) and not torch.equal(other[key], again[key])


def test_dropout_is_a_parameter():
    network = models.build("conv_2", {"width": 0.125, "dropout": 0.5})
    assert [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)] == [0.5]
    assert not [layer for layer in models.build("conv_2").modules() if isinstance(layer, nn.Dropout)]
    wide = models.build("wrn_22_2", {"width": 0.125, "dropout": 0.3})
    assert [layer.p for layer in wide.modules() if isinstance(layer, nn.Dropout)] == [0.3] * 9
    with pytest.raises(ValueError, match="dropout is 50: .*write 0.5"):
        models.build("conv_2", {"dropout": 50})


def test_biases_and_norms_are_never_prunable():  # pitfall: pruned-norms
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    assert models.prunable(network) == ["0.weight", "3.weight"]
    assert models.prunable(nn.Linear(2, 2)) == ["weight"]


def test_activation_is_an_option():
    one, two = models.build("lenet_300_100"), models.build("lenet_300_100", {"activation": "sigmoid"})
    assert isinstance(one.act, nn.ReLU) and isinstance(two.act, nn.Sigmoid)
    with pytest.raises(ValueError, match=r"unknown activation 'tanh'.*relu, sigmoid"):
        models.build("lenet_300_100", {"activation": "tanh"})


def test_glorot_statistics_and_seeds():
    states = [
        models.initial_state("lenet_300_100", {}, "glorot_normal", seed, purpose)
        for seed, purpose in [(0, "init"), (0, "reinit"), (0, "init"), (1, "init")]
    ]
    weights = torch.stack([state["fc1.weight"] for state in states])
    assert weights.shape == (4, 300, 784)
    assert weights[0].std() == pytest.approx((2 / (784 + 300)) ** 0.5, rel=0.01)
    assert torch.equal(weights[0], weights[2])
    correlations = torch.corrcoef(weights.reshape(4, -1))
    assert abs(correlations[0, 1]) < 0.01 and abs(correlations[0, 3]) < 0.01
    assert not states[0]["fc1.bias"].any()


def test_he_statistics_of_convolutions_and_of_linear_layers():
    state = models.initial_state("conv_2", {}, "kaiming_normal", 0, "init")
    expected = {"features.0.weight": 9 * 64, "features.2.weight": 9 * 64, "classifier.1.weight": 64 * 16 * 16,
                "classifier.3.weight": 256, "classifier.5.weight": 256}  # fmt: skip
    for name, fan in expected.items():
        weight = state[name]
        error = 4 / (2 * weight.numel()) ** 0.5  # four standard errors of a standard deviation
        assert weight.std().item() == pytest.approx((2 / fan) ** 0.5, rel=error), name
        assert abs(weight.mean().item()) < 4 * (2 / fan) ** 0.5 / weight.numel() ** 0.5
    assert not any(tensor.any() for name, tensor in state.items() if name.endswith("bias"))
    again, other = (models.initial_state("conv_2", {}, "kaiming_normal", seed, "init") for seed in (0, 1))
    assert torch.equal(again["features.0.weight"], state["features.0.weight"])
    assert not torch.equal(other["features.0.weight"], state["features.0.weight"])


@pytest.mark.parametrize("init", sorted(set(models.INITS) - {"own"}))
@pytest.mark.parametrize(("name", "options"), [("vgg19", {"width": 0.1}), ("resnet50", {"width": 0.0625})])
def test_initialisations_leave_norms_at_one_and_zero(name, options, init):
    network = models.build(name, options)
    network.load_state_dict(models.initial_state(name, options, init, 0, "init"))
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert (layer.weight == 1).all() and not layer.bias.any()
    assert not network.classifier.bias.any()


def test_unknown_model_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'lenet_300_100'"):
        models.build("lenet300_100")
    with pytest.raises(ValueError, match="cannot be imported"):
        models.build("no_such_module:net")
    with pytest.raises(ValueError, match="unknown option of model .lenet_300_100. .width.: There are: activation"):
        models.build("lenet_300_100", {"width": 3})
    with pytest.raises(ValueError, match="unknown option of model 'torch.nn:Flatten' 'width': There are: .*start_dim"):
        models.build("torch.nn:Flatten", {"width": 3})
    with pytest.raises(ValueError, match="does not take the options {}: .*'in_features'"):
        models.build("torch.nn:Linear")


def test_building_leaves_the_ambient_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    models.build("lenet_300_100", seed=1)
    assert torch.equal(torch.rand(1), expected)
