package migrate

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// models are what a file says of models; of the releases each had some of these keys.
type models struct {
	ModelPath    string    `yaml:"model_path"`
	SignatureKey string    `yaml:"signature_key"`
	Models       yaml.Node `yaml:"models"` // a list of model, or a map with path, paths or dir
}

// model is one of several.
type model struct {
	Name         string `yaml:"name"`
	Path         string `yaml:"path"`
	ModelPath    string `yaml:"model_path"` // before 0.23
	SignatureKey string `yaml:"signature_key"`
}

// servedModel is a model as the drafted server knows it.
type servedModel struct {
	Name         string `json:"name"`
	File         string `json:"file"` // below /models; of ONNX
	SignatureKey string `json:"signature_key"`
	from         string
}

// into is where the model is put, below the folder of models.
func (m servedModel) into() string {
	if m.File != "" {
		return m.File
	}
	return m.Name + "/1" // TensorFlow Serving serves versions
}

var modelName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$`)

// served returns the models of a class; none where it is one of Python.
func (c *class) served() ([]servedModel, error) {
	if c.Type != "tensorflow" && c.Type != "onnx" {
		return nil, nil
	}
	all := []model{{Name: "default", ModelPath: c.ModelPath, SignatureKey: c.SignatureKey}}
	switch n := &c.Models; n.Kind {
	case 0:
	case yaml.SequenceNode:
		all = nil
		if err := n.Decode(&all); err != nil {
			return nil, fmt.Errorf("its models cannot be read: %w", err)
		}
	default:
		var m struct {
			model `yaml:",inline"`
			Paths []model `yaml:"paths"`
			Dir   string  `yaml:"dir"`
		}
		if err := n.Decode(&m); err != nil {
			return nil, fmt.Errorf("its models cannot be read: %w", err)
		}
		if m.Dir != "" {
			return nil, errors.New("its models are all those of a folder, of which each was loaded when it was asked for")
		}
		if all = m.Paths; len(all) == 0 {
			m.Name = "default"
			all = []model{m.model}
		}
		for i := range all {
			if all[i].SignatureKey == "" {
				all[i].SignatureKey = m.SignatureKey
			}
		}
	}
	var out []servedModel
	for _, m := range all {
		from := m.Path + m.ModelPath // one release had one of them
		if from == "" {
			return nil, errors.New("it names no model")
		}
		if !modelName.MatchString(m.Name) {
			return nil, fmt.Errorf("a model is called %q", m.Name)
		}
		s := servedModel{Name: m.Name, SignatureKey: m.SignatureKey, from: from}
		if c.Type == "onnx" {
			s.File = path.Join(m.Name, "model.onnx")
		}
		out = append(out, s)
	}
	return out, nil
}

// modelsConfig is the configuration of TensorFlow Serving.
func modelsConfig(all []servedModel) string {
	var b strings.Builder
	b.WriteString("model_config_list {\n")
	for _, m := range all {
		fmt.Fprintf(&b, "  config { name: %q base_path: %q model_platform: \"tensorflow\" }\n", m.Name, "/models/"+m.Name)
	}
	b.WriteString("}\n")
	return b.String()
}

var imageName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/:@-]*$`)

// servingDockerfile is that of TensorFlow Serving with the models. The image of a file was
// one of Cortex's own, most often.
func servingDockerfile(folder, image string) string {
	from := "tensorflow/serving:2.3.0"
	if imageName.MatchString(image) && !strings.Contains(image, "cortexlabs/") {
		from = image
	}
	return fmt.Sprintf("# Drafted by cortex migrate. Build it in the folder that was migrated.\nFROM %[1]s\n"+
		"COPY %[2]s/models /models\nCOPY %[2]s/models.config /models/models.config\n"+
		"ENTRYPOINT [\"tensorflow_model_server\", \"--rest_api_port=8501\", \"--model_config_file=/models/models.config\"]\n", from, below(folder))
}
