pub struct LoadedModel;
