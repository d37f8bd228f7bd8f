from .data import load_emoji as load_emoji
from .data import image_folder as image_folder
from .data import make_loaders as make_loaders
from .config import CONFIGS as CONFIGS
from .config import ViTConfig as ViTConfig
from .model import ViTModel as ViTModel
from .training import TrainingConfig as TrainingConfig
from .training import train as train
from .evaluation import evaluate as evaluate
from .checkpoint import save_checkpoint as save_checkpoint
from .checkpoint import load_checkpoint as load_checkpoint
from .predict_command import predict as predict
from .pretrained import from_torchvision as from_torchvision
from .pretrained import from_timm as from_timm
from .pretrained import from_huggingface as from_huggingface
from .tokenizer import Tokenizer as Tokenizer
from .gpt import GPTConfig as GPTConfig
from .gpt import GPTModel as GPTModel
from .generation import generate as generate
from .gpt2 import from_gpt2 as from_gpt2
from .vlm import VisionLanguageModel as VisionLanguageModel
from .vlm import caption as caption

__version__: str
